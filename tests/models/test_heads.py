"""Several heads: how they combine, against numpy; what an ensemble says; and what a checkpoint and a bundle keep."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.checkpoint import load_model, save_model
from models.config import ModelConfig
from models.head import RewardHeads, combine, reduce
from models.reward_model import RewardModel, build_model
from models.tokenizer import build_readout
from rewardlab.bundle import Bundle
from rewardlab.combination import Combination, Ensemble, Penalty
from rewardlab.engine import Engine
from rewardlab.files import read_json
from rewardlab.readout import ReadOut
from steps.export import ExportConfig, export

ASPECTS = ("helpful", "harmless")
SAFE = Combination(weights={"helpful": 1.0, "harmless": 0.5}, penalties={"harmless": Penalty(below=0.2, slope=4.0)})
RULES: Any = ("mean", "worst", "uncertainty")
IDS = torch.randint(3, 250, (3, 12), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([12, 5, 9])


def configured(**changes: Any) -> ModelConfig:
    return ModelConfig(**{"backbone": "tiny", "aspects": ASPECTS, "combination": SAFE, **changes})


def built(folder: Path, **changes: Any) -> RewardModel:
    return build_model(configured(**changes), folder, seed=3).eval()


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_combination_has_its_closed_form() -> None:
    rewards = random(3, 2, 5)
    helpful, harmless = rewards.numpy().transpose(1, 0, 2)
    expected = helpful + 0.5 * harmless - 4.0 * np.maximum(0.0, 0.2 - harmless)
    np.testing.assert_allclose(combine(rewards, ASPECTS, SAFE), expected, rtol=1e-6)


def test_an_unsafe_response_is_worth_less_however_helpful() -> None:
    unsafe_but_helpful, safe = (2.0, -1.0), (0.0, 0.5)
    rewards = torch.tensor([unsafe_but_helpful, safe]).T[None]
    plain = Combination(weights={"helpful": 1.0, "harmless": 0.5})
    assert combine(rewards, ASPECTS, plain)[0].argmax() == 0
    assert combine(rewards, ASPECTS, SAFE)[0].argmax() == 1


def test_the_rules_of_an_ensemble_have_their_closed_forms() -> None:
    rewards = random(4, 6)
    each = rewards.numpy()
    found = {rule: reduce(rewards, Ensemble(num_heads=4, rule=rule, coefficient=0.7)) for rule in RULES}
    np.testing.assert_allclose(found["mean"], each.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["worst"], each.min(0), rtol=1e-6)
    np.testing.assert_allclose(found["uncertainty"], each.mean(0) - 0.7 * each.std(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("aspects", "heads"), [(ASPECTS, 1), (ASPECTS, 3), ((), 3)])
@torch.no_grad()
def test_members_are_heads_of_their_own(aspects: tuple[str, ...], heads: int, tiny_folder: Path) -> None:
    combination = SAFE if aspects else Combination()
    ensemble = Ensemble(num_heads=heads, rule="worst")
    model = built(tiny_folder, aspects=aspects, combination=combination, ensemble=ensemble)
    assert isinstance(model.head, RewardHeads)
    evaluated, taught = model(IDS, LENGTHS), model.train()(IDS, LENGTHS)
    assert taught.shape == (heads, 1 + len(aspects), 3)
    assert len(set(taught.flatten().tolist())) == taught.numel()
    combined = evaluated[0] if aspects else evaluated
    assert torch.equal(combined, taught[:, 0].amin(0))
    if aspects:
        torch.testing.assert_close(evaluated[1:], taught[:, 1:].mean(0))


def test_the_first_head_is_the_one_head(tiny_folder: Path) -> None:
    many = built(tiny_folder).head
    one = built(tiny_folder, aspects=(), combination=Combination()).head
    assert isinstance(many, RewardHeads)
    assert torch.equal(many.members[0].score.weight, one.score.weight)  # type: ignore[union-attr]
    assert not torch.equal(many.members[1].score.weight, one.score.weight)  # type: ignore[union-attr]


def saved(folder: Path, tokens: Path, target: Path, config: ModelConfig) -> RewardModel:
    model = build_model(config, folder, seed=3).eval()
    readout = ReadOut.from_dict(read_json(tokens / "readout.json"))
    save_model(model, config, readout, backbone_folder=folder, target=target)
    return model


@torch.no_grad()
def test_a_checkpoint_keeps_every_head_and_says_how_they_combine(
    tiny_folder: Path, tokens: Path, tmp_path: Path
) -> None:
    config = configured(ensemble=Ensemble(num_heads=2, rule="uncertainty"))
    model = saved(tiny_folder, tokens, tmp_path / "model", config)
    loaded, found, readout = load_model(tmp_path / "model")
    assert torch.equal(loaded(IDS, LENGTHS), model(IDS, LENGTHS))
    assert (found, readout.aspects, readout.combination) == (config, ASPECTS, SAFE)
    assert readout.ensemble == config.ensemble


@pytest.mark.parametrize("ensemble", [Ensemble(), Ensemble(num_heads=3, rule="uncertainty")])
def test_a_bundle_scores_the_aspects_and_their_combination(
    ensemble: Ensemble, tiny_folder: Path, tokens: Path, splits: Path, tmp_path: Path
) -> None:
    saved(tiny_folder, tokens, tmp_path / "model", configured(ensemble=ensemble))
    export(ExportConfig(), tmp_path / "model", splits, tmp_path / "bundle", tmp_path / "export.json", lineage={})
    engine = Engine(Bundle.open(tmp_path / "bundle"))
    engine.check_golden()
    scores = engine.score("What is 2 + 2?", ["It is 4.", "Five.", "I will not say."])
    assert tuple(scores.aspects) == ASPECTS
    if ensemble.num_heads == 1:
        helpful, harmless = (np.array(scores.aspects[name]) for name in ASPECTS)
        expected = helpful + 0.5 * harmless - 4.0 * np.maximum(0.0, 0.2 - harmless)
        np.testing.assert_allclose(scores.rewards, expected, atol=1e-6)
    alone = engine.score("What is 2 + 2?", ["Five."])
    assert alone.aspects == {name: (values[1],) for name, values in scores.aspects.items()}


def test_a_bundle_with_one_head_has_no_aspects(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert bundle.readout.aspects == ()
    assert Engine(bundle).score("Hi", ["Hello"]).aspects == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"combination": Combination(weights={"helpful": 1.0})},
            "holds helpful, and the aspects are helpful, har",
        ),
        ({"aspects": ()}, "holds helpful, harmless, and the aspects are none"),
        ({"aspects": ("helpful", "helpful")}, "different names"),
        ({"combination": Combination(weights={"helpful": 1.0, "harmless": float("nan")})}, "weights are finite"),
        (
            {"combination": Combination(weights={"helpful": 1.0, "harmless": 1.0}, penalties={"honest": Penalty()})},
            "penalties holds honest",
        ),
    ],
)
def test_a_combination_that_does_not_fit_is_refused(changes: dict[str, Any], message: str, tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        configured(**changes)
    readout = build_readout(tiny_folder, pooling="last_token", prompt_limit=8, response_limit=8).to_dict()
    given = {"aspects": list(ASPECTS), "combination": SAFE, **changes}
    with pytest.raises(ValueError, match=message):
        ReadOut.from_dict({**readout, **given, "combination": given["combination"].to_dict()})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Penalty(slope=0.0),
        lambda: Penalty(below=float("inf")),
        lambda: Ensemble(num_heads=0),
        lambda: Ensemble(coefficient=-1.0),
    ],
)
def test_a_wrong_value_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="got"):
        wrong()
