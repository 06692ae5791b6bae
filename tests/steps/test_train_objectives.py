"""Training with aspects, ensembles, weights and every loss: who learns from which labels, to the bundle."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from models.config import Loss, ModelConfig
from pipelines.recipes import recipe
from rewardlab.combination import Combination, Ensemble, Penalty
from rewardlab.files import write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from steps.tokenize import TokenizeConfig, tokenize
from steps.train import TrainConfig, train
from tests.trees import tree_of

ASPECTS = ("helpful", "harmless")
EVEN = Combination(weights={"helpful": 1.0, "harmless": 1.0})
ANSWERS = ("yes, do it so", "no, that is wrong", "yes, hurt them", "no, and go away")


def group(name: str, **labels: Any) -> PreferenceGroup:
    prompt = (Message("user", f"Tell me about {name}"),)
    return PreferenceGroup(id=name, prompt=prompt, responses=ANSWERS, **labels)


def by_aspect(number: int) -> PreferenceGroup:
    """Return a group whose yes is helpful, by comparisons, and whose first two answers are harmless, by scores."""
    pairs = tuple(Comparison(better=yes, worse=no, aspect="helpful") for yes in (0, 2) for no in (1, 3))
    return group(f"thing {number}", comparisons=pairs, scores={"harmless": (1.0, 1.0, -1.0, -1.0)})


def tokenized(folder: Path, groups: list[PreferenceGroup], aspects: tuple[str, ...]) -> Path:
    write_groups(folder / "splits" / "train.jsonl.gz", groups[8:])
    write_groups(folder / "splits" / "validation.jsonl.gz", groups[:8])
    config = TokenizeConfig(backbone="tiny", prompt_limit=64, response_limit=64, aspects=aspects)
    tokenize(config, folder / "splits", folder / "tokens")
    return folder / "tokens"


def configured(model: dict[str, Any], **changes: Any) -> TrainConfig:
    usual = {"groups_per_step": 8, "learning_rate": 1e-3, "token_budget": 2048, "validate_every": 4, "epochs": 6}
    return TrainConfig(**{"model": ModelConfig(backbone="tiny", **model), **usual, **changes})


@torch.no_grad()
def rewards_of(model: Path, tokens: Path) -> np.ndarray[Any, Any]:
    """Return the mean over the validation groups of each output's rewards."""
    from models.checkpoint import load_model
    from steps.common.tokenstore import TokenStore
    from steps.export.parity import torch_outputs

    trained, store = load_model(model)[0], TokenStore(tokens / "validation")
    trees = [tree_of(store[at]) for at in range(len(store))]
    return torch_outputs(trained, trees).reshape(len(store), len(ANSWERS), -1).mean(axis=0).T


@pytest.fixture(scope="module")
def aspect_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenized(tmp_path_factory.mktemp("aspects"), [by_aspect(number) for number in range(40)], ASPECTS)


@pytest.mark.parametrize("heads", [1, 3])
def test_each_head_learns_its_aspect_and_the_unsafe_is_penalised(
    heads: int, registry: Path, aspect_tokens: Path, tmp_path: Path
) -> None:
    safe = Combination(weights={"helpful": 1.0, "harmless": 0.0}, penalties={"harmless": Penalty(slope=50.0)})
    model = {"aspects": ASPECTS, "combination": safe, "ensemble": Ensemble(num_heads=heads, rule="worst")}
    config = configured(model, aspect_losses={"harmless": "mse"}, center_rewards=0.01)
    report = train(config, aspect_tokens, tmp_path / "model", state=tmp_path / "state")
    reward, helpful, harmless = rewards_of(tmp_path / "model", aspect_tokens)
    assert report.best_accuracy == 1.0
    assert helpful[[0, 2]].min() > helpful[[1, 3]].max()
    np.testing.assert_allclose(harmless, [1, 1, -1, -1], atol=0.5)
    assert reward.argmax() == 0
    assert reward[:2].min() > reward[2:].max()


def test_comparisons_of_no_aspect_teach_the_combined_reward(registry: Path, tmp_path: Path) -> None:
    rated = {"helpful": (1.0, 0.0, 1.0, 0.0), "harmless": (1.0, 1.0, 0.0, 0.0)}
    won = tuple(Comparison(better=0, worse=other) for other in (1, 2, 3))
    tokens = tokenized(tmp_path, [group(f"x {at}", scores=rated, comparisons=won) for at in range(40)], ASPECTS)
    config = configured(
        {"aspects": ASPECTS, "combination": EVEN}, aspect_losses={"helpful": "mse", "harmless": "mse"}, epochs=1
    )
    before = train(config, tokens, tmp_path / "model", state=tmp_path / "state")
    reward, helpful, harmless = rewards_of(tmp_path / "model", tokens)
    assert before.best_accuracy > 0.5
    np.testing.assert_allclose(reward, helpful + harmless, atol=1e-5)
    assert reward.argmax() == 0


@pytest.mark.parametrize("loss", get_args(Loss))
def test_every_loss_learns_with_an_ensemble(loss: Loss, registry: Path, tmp_path: Path) -> None:
    pairs = tuple(Comparison(better=yes, worse=no) for yes in (0, 2) for no in (1, 3))
    labels = {"comparisons": pairs, "scores": {"gold": (1.0, 0.0, 1.0, 0.0)}}
    tokens = tokenized(tmp_path, [group(f"x {at}", **labels) for at in range(40)], ("gold",))
    config = configured({"ensemble": Ensemble(num_heads=2, rule="uncertainty")}, loss=loss)
    assert train(config, tokens, tmp_path / "model", state=tmp_path / "state").best_accuracy == 1.0


def test_a_heavy_group_outvotes_light_ones(registry: Path, tmp_path: Path) -> None:
    yes, no = (Comparison(better=one, worse=other) for one, other in ((0, 1), (1, 0)))
    light = [group("x", comparisons=(no,)) for _ in range(24)]
    heavy = [group("x", comparisons=(yes,), weight=20.0) for _ in range(16)]
    tokens = tokenized(tmp_path, [*heavy, *light], ("gold",))
    config = configured({}, groups_per_step=32)
    train(config, tokens, tmp_path / "model", state=tmp_path / "state")
    ((first, second, *_),) = rewards_of(tmp_path / "model", tokens)
    assert first > second


def test_adapters_and_their_head_survive_training(registry: Path, tmp_path: Path) -> None:
    pairs = (Comparison(better=0, worse=1), Comparison(better=2, worse=3))
    tokens = tokenized(tmp_path, [group(f"x {at}", comparisons=pairs) for at in range(40)], ("gold",))
    config = configured({"lora_rank": 4}, learning_rate=5e-3, epochs=3)
    assert train(config, tokens, tmp_path / "model", state=tmp_path / "state").best_accuracy == 1.0
    ((yes, no, other_yes, other_no),) = rewards_of(tmp_path / "model", tokens)
    assert yes > no
    assert other_yes > other_no


def test_an_aspect_without_labels_is_refused(registry: Path, aspect_tokens: Path, tmp_path: Path) -> None:
    config = configured({"aspects": ASPECTS, "combination": EVEN})
    with pytest.raises(ValueError, match="no group with comparisons of 'harmless', which bradley_terry needs"):
        train(config, aspect_tokens, tmp_path / "model", state=tmp_path / "state")


def test_tokens_of_other_aspects_are_refused(registry: Path, aspect_tokens: Path, tmp_path: Path) -> None:
    honest = Combination(weights={"honest": 1.0})
    config = configured({"aspects": ("honest",), "combination": honest})
    with pytest.raises(ValueError, match=r"the tokens are of the aspects .* the model's are \('honest',\)"):
        train(config, aspect_tokens, tmp_path / "model", state=tmp_path / "state")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"aspect_losses": {"honest": "mse"}}, "aspect_losses holds honest, and the aspects are"),
        ({"loss": "mse", "label_smoothing": 0.1}, "label_smoothing is of bradley_terry"),
    ],
)
def test_an_objective_that_does_not_fit_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configured({}, **wrong)


def test_a_recipe_says_the_aspects_once() -> None:
    combination = {"weights": {"helpful": 1.0, "harmless": 1.0}}
    run = recipe("smoke", {"model.aspects": list(ASPECTS), "model.combination": combination})
    assert run.train_config().model.aspects == run.tokenize_config().aspects == ASPECTS
    alone = recipe("smoke", {"label_aspect": "helpful"})
    assert (alone.train_config().model.aspects, alone.tokenize_config().aspects) == ((), ("helpful",))
