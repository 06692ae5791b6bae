"""Depth pruning: the layers of the least influence go, and what is left reads as before."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from models.backbone import load_backbone
from models.pruning import influence, prune
from models.reward_model import layers
from rewardlab.files import read_json
from tests.models.test_trees import FAMILIES

SEQUENCES = [np.random.default_rng(seed).integers(1, 99, 20 + seed).astype(np.int32) for seed in range(3)]
FOUR = {"num_hidden_layers": 4}
IDS = torch.as_tensor(SEQUENCES[0])[None].long()


def _folder(family: str, target: Path, idle: int) -> Path:
    """Write a model of four layers, one of which adds next to nothing."""
    torch.manual_seed(0)
    depth = {"n_layer": 4} if family == "GPT2" else FOUR
    if family == "SmolLM3":
        depth["no_rope_layers"] = [1, 0, 1, 1]  # type: ignore[assignment]
    model = getattr(transformers, f"{family}Model")(
        getattr(transformers, f"{family}Config")(**FAMILIES[family] | depth | {"pad_token_id": 0})
    )
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.normal_(std=0.2) if value.ndim == 2 and f".{idle}." not in f".{name}" else None
        for value in layers(model)[idle].parameters():
            value.mul_(1e-3)
    model.save_pretrained(target)
    return target


def _hidden(folder: Path, *, without: int | None = None) -> torch.Tensor:
    backbone = load_backbone(folder, dropout=0.0).eval()
    if without is not None:
        layers(backbone)[without].register_forward_hook(
            lambda _layer, given, left: given[0] if isinstance(left, torch.Tensor) else (given[0], *left[1:])
        )
    with torch.no_grad():
        found: torch.Tensor = backbone(input_ids=IDS).last_hidden_state
    return found


@pytest.mark.parametrize("family", [each for each in FAMILIES if each != "GPT2"])
def test_an_idle_layer_goes_and_the_others_read_as_before(family: str, tmp_path: Path) -> None:
    folder = _folder(family, tmp_path / "whole", idle=2)
    prune(folder, SEQUENCES, num_layers=1, target=tmp_path / "pruned")
    assert read_json(tmp_path / "pruned" / "pruned.json")["layers"] == [2]
    torch.testing.assert_close(_hidden(tmp_path / "pruned"), _hidden(folder, without=2), atol=0, rtol=0)


def test_influence_is_one_minus_the_mean_cosine(tmp_path: Path) -> None:
    backbone = load_backbone(_folder("GPT2", tmp_path / "whole", idle=1), dropout=0.0).eval()
    with torch.no_grad():
        states = [backbone(input_ids=IDS, output_hidden_states=True).hidden_states]
    found, entered, left = influence(backbone, SEQUENCES[:1]), states[0][0][0].numpy(), states[0][1][0].numpy()
    cosines = (entered * left).sum(1) / np.linalg.norm(entered, axis=1) / np.linalg.norm(left, axis=1)
    assert found[0] == pytest.approx(1 - cosines.mean(), abs=1e-6)
    assert found.argmin() == 1


def test_tokenizer_and_template_come_along(tiny_folder: Path, tmp_path: Path) -> None:
    prune(tiny_folder, SEQUENCES, num_layers=1, target=tmp_path / "pruned")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "pruned" / name).read_bytes() == (tiny_folder / name).read_bytes()


def test_a_layer_is_left(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 2 layers: leave at least one"):
        prune(tiny_folder, SEQUENCES, num_layers=2, target=tmp_path / "pruned")
    assert not list(tmp_path.iterdir())
