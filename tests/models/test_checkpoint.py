"""Checkpoints: equal rewards after a round trip, and in transformers' own classes."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from models.backbone import prepare_backbone
from models.checkpoint import load_model, save_model
from models.config import Head, ModelConfig
from models.reward_model import RewardModel, build_model
from models.tokenizer import build_readout
from rewardlab.readout import Pooling, ReadOut

IDS = torch.randint(3, 250, (4, 30), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([30, 7, 1, 22])


def _saved(
    folder: Path, target: Path, pooling: Pooling = "last_token", head: Head = "linear"
) -> tuple[RewardModel, ModelConfig, ReadOut]:
    config = ModelConfig(backbone=str(folder), pooling=pooling, head=head, freeze_layers=1)
    readout = build_readout(folder, pooling=pooling, prompt_limit=64, response_limit=64)
    model = build_model(config, folder, seed=5).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # so that nothing is as it was pretrained
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    save_model(model, config, readout, backbone_folder=folder, target=target)
    return model, config, readout


@pytest.mark.parametrize(
    ("pooling", "head"), [("last_token", "linear"), ("last_token", "mlp"), ("mean", "linear"), ("attention", "mlp")]
)
@torch.no_grad()
def test_a_round_trip_changes_no_bit(any_folder: Path, tmp_path: Path, pooling: Pooling, head: Head) -> None:
    model, config, readout = _saved(any_folder, tmp_path / "model", pooling, head)
    loaded, loaded_config, loaded_readout = load_model(tmp_path / "model")
    assert torch.equal(loaded(IDS, LENGTHS), model(IDS, LENGTHS))
    assert (loaded_config, loaded_readout) == (config, readout)
    assert not next(loaded.backbone.parameters()).requires_grad


@pytest.mark.parametrize("fixture", ["tiny_folder", "gpt2_folder"])
@torch.no_grad()
def test_transformers_sequence_classifier_gives_the_same_rewards(
    fixture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model, _, readout = _saved(request.getfixturevalue(fixture), tmp_path / "model")
    classifier, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert not any(report.values()), report
    mask = torch.arange(30)[None] < LENGTHS[:, None]
    ids = torch.where(mask, IDS, readout.pad_id)
    logits = classifier.eval()(input_ids=ids, attention_mask=mask.long()).logits
    torch.testing.assert_close(logits[:, 0], model(ids, LENGTHS), atol=1e-6, rtol=0)


@torch.no_grad()
def test_automodel_reads_the_backbone_of_any_other(encoder_folder: Path, tmp_path: Path) -> None:
    model, *_ = _saved(encoder_folder, tmp_path / "model", "mean", "mlp")
    backbone, report = AutoModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"]
    hidden = backbone.eval()(input_ids=IDS[:1]).last_hidden_state
    torch.testing.assert_close(hidden, model.backbone(input_ids=IDS[:1]).last_hidden_state)
    assert {key for key in load_file(tmp_path / "model" / "model.safetensors") if key.startswith("head.")} == {
        "head.dense.bias",
        "head.dense.weight",
        "head.score.weight",
    }


def test_the_folder_holds_the_one_format(any_folder: Path, tmp_path: Path) -> None:
    _, _, readout = _saved(any_folder, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "readout.json"}
    assert "reward_model.json" in names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert (tmp_path / "model" / "tokenizer.json").read_bytes() == (any_folder / "tokenizer.json").read_bytes()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert (tokenizer.chat_template, tokenizer.pad_token_id) == (readout.template, readout.pad_id)


def test_a_checkpoint_is_a_backbone(tiny_folder: Path, tmp_path: Path) -> None:
    _, _, readout = _saved(tiny_folder, tmp_path / "model")
    folder = prepare_backbone(str(tmp_path / "model"), tmp_path)
    assert build_readout(folder, pooling="last_token", prompt_limit=64, response_limit=64) == readout


@torch.no_grad()
def test_a_backbone_without_pooler_keeps_its_rewards(encoder_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    bare = tmp_path / "bare"
    shutil.copytree(encoder_folder, bare)
    weights = load_file(bare / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not key.startswith("pooler.")}
    save_file(kept, bare / "model.safetensors", metadata={"format": "pt"})
    model, *_ = _saved(bare, tmp_path / "model", "mean")
    loaded, *_ = load_model(tmp_path / "model")
    assert torch.equal(loaded(IDS, LENGTHS), model(IDS, LENGTHS))


def test_low_precision_leaves_the_head_in_fp32(tiny_folder: Path, tmp_path: Path) -> None:
    _saved(tiny_folder, tmp_path / "model")
    loaded, *_ = load_model(tmp_path / "model", dtype=torch.bfloat16)
    assert loaded.head.score.weight.dtype == torch.float32
    assert next(loaded.backbone.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["reward_model.json", "readout.json", "model.safetensors"])
def test_an_incomplete_folder_is_refused(tiny_folder: Path, tmp_path: Path, name: str) -> None:
    _saved(tiny_folder, tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(ValueError, match=name):
        load_model(tmp_path / "model")


def test_another_tokenizer_is_refused(tiny_folder: Path, encoder_folder: Path, tmp_path: Path) -> None:
    _saved(tiny_folder, tmp_path / "model")
    shutil.copyfile(encoder_folder / "tokenizer.json", tmp_path / "model" / "tokenizer.json")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        load_model(tmp_path / "model")
