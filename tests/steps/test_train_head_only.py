"""Head-only training: the backbone reads once, and the head ends as it does beside a frozen backbone."""

from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.backbone import prepare_backbone
from models.config import ModelConfig
from models.reward_model import RewardModel, build_model
from rewardlab.combination import Combination, Ensemble
from rewardlab.files import read_json
from rewardlab.readout import Pooling, ReadOut
from rewardlab.reports import HistoryRow
from steps.tokenize import TokenizeConfig, tokenize
from steps.train import TrainConfig, train
from steps.train.groups import StoredGroups, open_data
from steps.train.loop import Trainer
from steps.train.optimizer import weights_of
from steps.train.state import Checkpoints
from steps.train.world import World


def configured(model: dict[str, Any], **changes: Any) -> TrainConfig:
    usual = {"groups_per_step": 8, "token_budget": 2048, "validate_every": 4, "epochs": 2}
    given = {"backbone": "tiny", **model}
    return TrainConfig(**{"model": ModelConfig(**given), "max_groups": 48, "head_only": True, **usual, **changes})


def beside_a_frozen_backbone(
    folder: Path, tokens: Path, config: TrainConfig, state: Path
) -> tuple[dict[str, torch.Tensor], tuple[HistoryRow, ...]]:
    """Return the head and the history of ordinary training with a backbone that does not move."""
    data = open_data(tokens, config, pad_id=ReadOut.from_dict(read_json(tokens / "readout.json")).pad_id)
    model = build_model(config.model, folder, seed=config.seed)
    model.backbone.requires_grad_(False)
    checkpoints = Checkpoints(state)
    state.mkdir()
    trainer = Trainer(model, config, data, checkpoints=checkpoints, world=World(device=torch.device("cpu")))
    history = trainer.fit(lambda _step, _metrics: None, Event())
    return weights_of(checkpoints.tensors(history.best_step)), tuple(history.rows)


def head_of(model: Path) -> dict[str, torch.Tensor]:
    weights = load_file(model / "model.safetensors")
    return {
        f"head.{name.removeprefix('head.')}": weights[name] for name in weights if "score" in name or "head." in name
    }


@pytest.mark.parametrize(
    ("backbone", "pooling", "model"),
    [
        ("tiny", "last_token", {}),
        ("tiny", "mean", {"head": "mlp"}),
        ("tiny", "attention", {}),
        ("tiny-encoder", "mean", {"ensemble": Ensemble(num_heads=2)}),
    ],
)
def test_the_head_ends_as_beside_a_frozen_backbone(
    backbone: str,
    pooling: Pooling,
    model: dict[str, Any],
    registry: Path,
    splits: Path,
    tmp_path: Path,
) -> None:
    folder = prepare_backbone(backbone)
    step = TokenizeConfig(backbone=backbone, pooling=pooling, prompt_limit=64, response_limit=64)
    tokenize(step, splits, tmp_path / "tokens")
    config = configured({"backbone": backbone, "pooling": pooling, **model})
    expected, rows = beside_a_frozen_backbone(folder, tmp_path / "tokens", config, tmp_path / "frozen")
    train(config, tmp_path / "tokens", tmp_path / "model", state=tmp_path / "state")
    found = head_of(tmp_path / "model")
    assert found.keys() == expected.keys()
    assert max(float((found[name] - expected[name]).abs().max()) for name in expected) < 1e-6
    history = read_json(tmp_path / "model" / "training.json")["history"]
    names = ("train_loss", "validation_loss", "validation_accuracy")
    np.testing.assert_allclose(
        [[row[name] for name in names] for row in history],
        [[getattr(row, name) for name in names] for row in rows],
        atol=1e-6,
    )
    assert not (tmp_path / "state").exists()


def test_the_backbone_reads_each_response_once_and_stays_as_it_was(
    registry: Path, tokens: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured({}, epochs=3)
    groups = [*StoredGroups(tokens / "train", config, limit=48), *StoredGroups(tokens / "validation", config)]
    read: list[int] = []
    score_trees = RewardModel.score_trees
    monkeypatch.setattr(
        RewardModel, "score_trees", lambda self, batch: read.append(len(batch.lengths_B)) or score_trees(self, batch)
    )
    train(config, tokens, tmp_path / "model", state=tmp_path / "state")
    assert sum(read) == sum(len(group.responses) for group in groups)
    before = build_model(config.model, tiny_folder).backbone.state_dict()
    after = load_file(tmp_path / "model" / "model.safetensors")
    assert all(torch.equal(after[f"model.{name}"], value) for name, value in before.items())


def test_aspects_learn_from_cached_states(registry: Path, splits: Path, tmp_path: Path) -> None:
    aspects = ("helpful", "harmless")
    tokenize(
        TokenizeConfig(backbone="tiny", prompt_limit=128, response_limit=128, aspects=aspects),
        splits,
        tmp_path / "tokens",
    )
    combination = Combination(weights={"helpful": 1.0, "harmless": 1.0})
    config = configured(
        {"aspects": aspects, "combination": combination}, aspect_losses=dict.fromkeys(aspects, "mse"), epochs=1
    )
    assert train(config, tmp_path / "tokens", tmp_path / "model", state=tmp_path / "state").num_steps == 6


def test_a_group_beyond_the_budget_is_refused(registry: Path, tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the budget is 16 tokens: raise it"):
        train(configured({}, token_budget=16), tokens, tmp_path / "model", state=tmp_path / "state")


@pytest.mark.parametrize(
    ("model", "changes"),
    [({"dropout": 0.1}, {}), ({"lora_rank": 4}, {}), ({}, {"recompute": True}), ({}, {"num_processes": 2})],
)
def test_what_a_backbone_that_reads_once_cannot_do_is_refused(model: dict[str, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="head_only reads a frozen backbone once"):
        configured(model, **changes)
