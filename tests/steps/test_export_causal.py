"""Causal graphs: responses read against a prompt that was read before score as if they had been read behind it."""

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import transformers
from transformers import PreTrainedModel

from models.head import RewardHead
from models.reward_model import RewardModel
from rewardlab.engine.session import Session
from rewardlab.readout import LENGTH_MULTIPLE, Pooling
from steps.export.causal import why_not_shared
from steps.export.graph import write_onnx
from steps.export.parity import check_parity, same_alone, torch_outputs
from steps.export.prefix_attention import Prefix, Rows, attend_to_prefixes, hidden_states
from tests.steps.test_export import trees

WIDTH = 64
SHAPE = {
    "vocab_size": 256,
    "hidden_size": WIDTH,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.1,
}
GEOMETRIES: dict[str, dict[str, Any]] = {
    "Llama": SHAPE,
    "Qwen2": SHAPE | {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    "Qwen3": SHAPE | {"head_dim": 32},
    "Mistral": SHAPE | {"sliding_window": 24},
    "GPT2": {"vocab_size": 256, "n_embd": WIDTH, "n_layer": 3, "n_head": 4, "n_positions": 256},
    "Gemma2": SHAPE | {"head_dim": 32, "sliding_window": 24, "attn_logit_softcapping": 5.0},
}


def reward_model(name: str, *, pooling: Pooling, **other: int) -> RewardModel:
    """Return a tiny random model; eager attention is the one in transformers that knows soft caps."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**GEOMETRIES[name] | other)
    backbone: PreTrainedModel = getattr(transformers, f"{name}Model")(config)
    backbone.set_attn_implementation("eager")
    return RewardModel(backbone, RewardHead(WIDTH, pooling=pooling), kind="causal").eval()


@pytest.mark.parametrize("pooling", ["last_token", "mean"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_geometry_scores_like_torch_and_alike_alone(name: str, pooling: Pooling, tmp_path: Path) -> None:
    model, texts = reward_model(name, pooling=pooling), trees()
    expected = torch_outputs(model, texts)[:, 0]
    assert write_onnx(model, tmp_path / "model.onnx") == ""
    session = Session(tmp_path / "model.onnx", pad_id=0, threads=1)
    assert session.shares_prompts
    found = session.run(texts)
    assert check_parity(expected, found).share_of_tolerance <= 1
    assert same_alone(session, texts)
    assert torch.equal(torch.tensor(torch_outputs(model, texts)[:, 0]), torch.tensor(expected))


@pytest.mark.parametrize(
    ("name", "wider"), [("Mistral", {"sliding_window": None}), ("Gemma2", {"attn_logit_softcapping": None})]
)
def test_the_window_and_the_cap_are_in_the_graph(name: str, wider: dict[str, Any], tmp_path: Path) -> None:
    model = reward_model(name, pooling="last_token")
    write_onnx(model, tmp_path / "model.onnx")
    backbone = type(model.backbone)(type(model.backbone.config)(**GEOMETRIES[name] | wider))
    backbone.load_state_dict(model.backbone.state_dict())
    backbone.set_attn_implementation("eager")
    model.backbone = backbone
    with pytest.raises(ValueError, match="disagree"):
        check_parity(torch_outputs(model, trees())[:, 0], Session(tmp_path / "model.onnx", pad_id=0).run(trees()))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_last_layer_reads_the_rows_that_are_asked_for(name: str) -> None:
    model = reward_model(name, pooling="last_token")
    ids, lengths, read = torch.arange(96).reshape(4, 24), torch.tensor([24, 19, 8, 3]), []
    mlp = [module for path, module in model.backbone.named_modules() if path.endswith(".mlp")][-1]
    next(mlp.children()).register_forward_pre_hook(lambda _module, given: read.append(given[0].shape[1]))
    attend_to_prefixes(model.backbone)
    with torch.no_grad():
        full = Prefix([], torch.tensor(0))
        expected = hidden_states(model.backbone, ids, full)
        few = Prefix([], torch.tensor(0), rows=Rows(lengths, 24, num_layers=3))
        found = hidden_states(model.backbone, ids, few)
        again = hidden_states(model.backbone, ids, Prefix([], torch.tensor(0)))
    assert read == [24, LENGTH_MULTIPLE, 24]
    for row, length in enumerate(lengths):
        wanted = slice(max(0, length - LENGTH_MULTIPLE), length)
        torch.testing.assert_close(found[row, wanted], expected[row, wanted])
    for own, wanted_own in zip(few.present, full.present, strict=True):
        assert all(map(torch.equal, own, wanted_own))
    assert torch.equal(again, expected)


def test_no_layer_asks_for_a_size_again(tmp_path: Path) -> None:
    asked = []
    for layers in (3, 6):
        write_onnx(reward_model("Llama", pooling="last_token", num_hidden_layers=layers), tmp_path / "model.onnx")
        nodes = onnx.load(tmp_path / "model.onnx").graph.node
        asked.append(sum(node.op_type == "Gather" and "Shape" in node.input[0] for node in nodes))
    assert asked[0] == asked[1] > 0


def test_a_backbone_that_keeps_its_attention_is_read_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": 256, "rotary_dim": 8}
    backbone = transformers.GPTJModel(transformers.GPTJConfig(**sizes))  # type: ignore[no-untyped-call]
    model = RewardModel(backbone, RewardHead(WIDTH, pooling="last_token"), kind="causal").eval()
    usual = backbone.config._attn_implementation
    assert (
        write_onnx(model, tmp_path / "model.onnx") == "the attention of a GPTJModel is its own and cannot be replaced"
    )
    assert "the graph of GPTJModel reads each prompt with each response, because the attention" in caplog.text
    assert backbone.config._attn_implementation == usual
    session = Session(tmp_path / "model.onnx", pad_id=0, threads=1)
    assert not session.shares_prompts
    assert check_parity(torch_outputs(model, trees())[:, 0], session.run(trees())).share_of_tolerance <= 1


def test_attention_with_sinks_is_told_beforehand() -> None:
    torch.manual_seed(0)
    config = transformers.GptOssConfig(**SHAPE, head_dim=16, num_local_experts=2, num_experts_per_tok=1)
    model = RewardModel(transformers.GptOssModel(config), RewardHead(WIDTH, pooling="last_token"), kind="causal").eval()
    assert why_not_shared(model).startswith("GptOssAttention cannot read responses against a prompt")


def test_a_bug_does_not_hide_behind_the_other_graph(tmp_path: Path) -> None:
    model = reward_model("Llama", pooling="last_token")
    assert why_not_shared(model) == ""
    model.head = Broken()  # type: ignore[assignment]
    with pytest.raises(ValueError, match="a bug of the head"):
        write_onnx(model, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


class Broken(torch.nn.Module):
    """A head that fails."""

    pooling = "last_token"

    def forward(self, *_: torch.Tensor) -> torch.Tensor:
        raise ValueError("a bug of the head")
