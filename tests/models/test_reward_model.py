"""The reward model: equal rewards however sequences are batched, every read-out, frozen layers."""

import itertools
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from models.backbone import load_backbone
from models.config import Head, ModelConfig
from models.reward_model import RewardModel, build_model
from rewardlab.readout import Pooling

FOLDERS = ("tiny_folder", "encoder_folder", "gpt2_folder")
LENGTHS = (3, 17, 1, 40, 8)


def _model(folder: Path, pooling: Pooling = "last_token", head: Head = "linear", freeze: int = 0) -> RewardModel:
    config = ModelConfig(backbone=str(folder), pooling=pooling, head=head, freeze_layers=freeze)
    return build_model(config, folder).eval()


def _sequences() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, 250, (length,), generator=generator) for length in LENGTHS]


def _alone(model: RewardModel, sequences: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([model(ids[None], torch.tensor([len(ids)])) for ids in sequences])


def _together(model: RewardModel, sequences: list[torch.Tensor], pad: int = 0) -> torch.Tensor:
    ids = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=pad)
    rewards: torch.Tensor = model(ids, torch.tensor([len(each) for each in sequences]))
    return rewards


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize(
    ("fixture", "pooling"),
    [*itertools.product(FOLDERS, ("last_token", "mean", "attention")), ("encoder_folder", "cls")],
)
@torch.no_grad()
def test_neither_batch_nor_padding_changes_a_reward(
    fixture: str, pooling: Pooling, head: Head, request: pytest.FixtureRequest
) -> None:
    model, sequences = _model(request.getfixturevalue(fixture), pooling, head), _sequences()
    alone = _alone(model, sequences)
    torch.testing.assert_close(_together(model, sequences), alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(_together(model, sequences[:2]), alone[:2], atol=1e-6, rtol=0)
    assert alone.dtype == torch.float32
    assert len(set(alone.tolist())) == len(LENGTHS)


@torch.no_grad()
def test_what_pads_does_not_matter(any_folder: Path) -> None:
    model, sequences = _model(any_folder), _sequences()
    assert torch.equal(_together(model, sequences, pad=0), _together(model, sequences, pad=99))


def test_the_first_token_of_a_causal_backbone_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="use last_token"):
        _model(tiny_folder, "cls")


@pytest.mark.parametrize("freeze", [0, 1, 2])
def test_frozen_layers_get_no_gradient(any_folder: Path, freeze: int) -> None:
    model = _model(any_folder, freeze=freeze)
    _together(model, _sequences()).sum().backward()
    trained = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    for index in range(2):
        names = [name for name in trained if f".{index}." in name]
        assert bool(names) == (index >= freeze), names
    embeddings = any("embed" in name or "wte" in name or "wpe" in name for name in trained)
    assert embeddings == (freeze == 0)
    assert "head.score.weight" in trained


def test_autograd_records_nothing_of_frozen_layers(tiny_folder: Path) -> None:
    model = _model(tiny_folder, freeze=1)
    seen: list[bool] = []
    for layer in model.backbone.layers:
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output.requires_grad))
    _together(model, _sequences())
    assert seen == [False, True]


def test_freezing_more_layers_than_there_are_is_refused(any_folder: Path) -> None:
    with pytest.raises(ValueError, match="freeze_layers is 3, the backbone has 2 layers"):
        _model(any_folder, freeze=3)


@torch.no_grad()
def test_backbone_in_low_precision_still_gives_fp32_rewards(tiny_folder: Path) -> None:
    config = ModelConfig(backbone="tiny")
    model = build_model(config, tiny_folder, dtype=torch.bfloat16).eval()
    rewards = _together(model, _sequences())
    assert rewards.dtype == model.head.score.weight.dtype == torch.float32
    torch.testing.assert_close(rewards, _together(_model(tiny_folder), _sequences()), atol=0.05, rtol=0)


@torch.no_grad()
def test_last_token_is_the_backbones_last_hidden_state(any_folder: Path) -> None:
    model, ids = _model(any_folder), _sequences()[1]
    hidden = load_backbone(any_folder, dropout=0.0)(input_ids=ids[None]).last_hidden_state
    expected = hidden[0, -1] @ model.head.score.weight[0]
    torch.testing.assert_close(_alone(model, [ids])[0], expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_tracer_sees_any_batch_and_length(any_folder: Path) -> None:
    model, file = _model(any_folder), BytesIO()
    axes = {"input_ids": {0: "batch", 1: "tokens"}, "lengths": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of each shape it takes for a constant
        example = (torch.ones(2, 9, dtype=torch.long), torch.tensor([9, 5]))
        names = {"input_names": list(axes), "output_names": ["rewards"]}
        torch.onnx.export(model, example, file, dynamic_axes=axes, dynamo=False, opset_version=18, **names)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    ids = torch.nn.utils.rnn.pad_sequence(_sequences(), batch_first=True).numpy()
    (rewards,) = session.run(None, {"input_ids": ids, "lengths": np.array(LENGTHS)})
    torch.testing.assert_close(torch.from_numpy(rewards), _together(model, _sequences()), atol=1e-5, rtol=0)
