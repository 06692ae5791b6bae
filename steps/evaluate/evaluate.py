"""Measure a bundle on labelled groups, through the engine that will serve it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardlab.bundle import Bundle
from rewardlab.config import Config
from rewardlab.drift import Reference, drift
from rewardlab.files import file_digest, read_groups, write_json
from rewardlab.groups import PreferenceGroup, prompt_text
from rewardlab.metrics import PairTable, accuracy, labelled_pairs, reliability, scored_pairs
from rewardlab.references import resolve
from steps.common.scores import Rewards, score
from steps.common.statistics import length_correlation
from steps.evaluate.against import against, held_against
from steps.evaluate.agreement import best_of_n, ranking_agreement, rating_agreement
from steps.evaluate.baselines import baselines
from steps.evaluate.slices import by_subset, estimate, slices
from steps.registry.client import ChampionRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSettings(Config):
    """What a recipe chooses to measure.

    `score_aspect` names the ratings that stand for the truth where there are any. `anchor` is a version that stays,
    such as `3` or `models:/NAME/3`: a chain of champions that are each hardly worse than the last shows against it.
    `num_policy` groups are read by the policy too, for its log-probability as a baseline.
    """

    anchor: str = ""
    score_aspect: str = "gold"
    num_mistakes: int = 20
    num_scatter: int = 500
    num_policy: int = 32

    def __post_init__(self) -> None:
        if self.anchor and not re.fullmatch(r"(models:/[^/@]+/)?\d+", self.anchor):
            raise ValueError(f"anchor is a version that stays, such as 3 or models:/NAME/3, got {self.anchor!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(EvaluateSettings):
    """What is measured, and the registered model that a bare version belongs to."""

    name: str = "reward-model"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateReport(Config):
    """The digest of the written evaluation."""

    digest: str
    accuracy: float


def evaluate(config: EvaluateConfig, bundle: Path, test: Path, target: Path, *, champion: str = "") -> EvaluateReport:
    """Measure the bundle, and the champion beside it, on the test groups; write the evaluation as JSON.

    Args:
        config: what is measured.
        bundle: the candidate's folder.
        test: a file of groups.
        target: the JSON file to write.
        champion: the champion's record as JSON, or nothing.

    Raises:
        ValueError: the test file is empty or holds groups that the model was trained on.
    """
    groups = in_fixed_order(read_groups(test))
    test_digest = file_digest(test)
    result = measure(config, scored_by(Bundle.open(bundle), groups), groups)
    result["data"] = {"path": test.name, "md5": file_digest(test, "md5"), **_sizes(groups)}
    result["test_digest"] = test_digest
    pairs = result.pop("pairs")
    result |= _against_champion(config, pairs, groups, test_digest, champion)
    result |= _against_anchor(config, pairs, groups)
    write_json(target, result)
    return EvaluateReport(digest=file_digest(target), accuracy=_value(result["metrics"]["accuracy"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A model, and the rewards it gave to some groups.

    `temperature` turns differences into probabilities; `reference` and `bundle` are None where the model comes without.
    """

    label: str
    digest: str
    rewards: Rewards
    temperature: float = 1.0
    reference: Reference | None = None
    bundle: Bundle | None = None


def scored_by(bundle: Bundle, groups: Sequence[PreferenceGroup]) -> Scored:
    """Score the groups with a bundle.

    Raises:
        ValueError: there are no groups, or some were trained on.
    """
    if not groups:
        raise ValueError("there is nothing to evaluate on: the test set is empty")
    refuse_trained(bundle, groups)
    known = bundle.calibration
    return Scored(
        label=bundle.label,
        digest=bundle.digest,
        rewards=score(bundle, groups),
        temperature=known.temperature,
        reference=known.reference if known.num_rewards else None,
        bundle=bundle,
    )


def measure(config: EvaluateConfig, scored: Scored, groups: Sequence[PreferenceGroup]) -> dict[str, Any]:
    """Return every metric of the rewards that a model gave to groups, and under `pairs` the scored comparisons."""
    rewards = scored.rewards
    pairs = labelled_pairs(groups, rewards)
    characters = [[float(len(text)) for text in group.responses] for group in groups]
    return {
        "model": scored.label,
        "bundle": scored.digest,
        "metrics": {
            "accuracy": estimate(accuracy(pairs)),
            "accuracy_gold": estimate(accuracy(scored_pairs(groups, rewards, config.score_aspect))),
            "ece": _calibration(pairs, scored.temperature),
            **rating_agreement(groups, rewards, config.score_aspect),
            "rankings": ranking_agreement(groups, rewards),
            "best_of_n": best_of_n(groups, rewards, config.score_aspect),
            "length_correlation": estimate(length_correlation(groups, rewards)),
        },
        "drift": _drift(scored),
        "subsets": by_subset(groups, rewards, config.score_aspect),
        "slices": slices(groups, pairs),
        **baselines(groups, scored.bundle, num_policy=config.num_policy),
        "rewards": distribution(rewards),
        "scatter": _scatter(rewards, characters, config.num_scatter),
        "mistakes": _mistakes(groups, rewards, config.num_mistakes),
        "pairs": pairs,
    }


def in_fixed_order(groups: Iterable[PreferenceGroup]) -> list[PreferenceGroup]:
    """Return the groups by id, so that the order of a file does not decide which clusters a bootstrap draws."""
    return sorted(groups, key=lambda group: group.id)


def refuse_trained(bundle: Bundle, groups: Sequence[PreferenceGroup]) -> None:
    """Refuse groups that the bundle was trained on.

    Raises:
        ValueError: there are some; the message names the first.
    """
    if seen := bundle.trained_on(groups):
        raise ValueError(
            f"{len(seen)} of {len(groups)} groups were trained on by {bundle.label} ({', '.join(seen[:5])}): accuracy "
            "on them says nothing; evaluate on other data"
        )


def distribution(rewards: Rewards) -> dict[str, Any]:
    """Return moments, quantiles and a histogram of all rewards."""
    flat = np.concatenate([np.asarray(each) for each in rewards])
    counts, edges = np.histogram(flat, bins=30)
    return {
        "mean": float(flat.mean()),
        "sd": float(flat.std()),
        "min": float(flat.min()),
        "max": float(flat.max()),
        "num": len(flat),
        "quantiles": {str(at): float(np.quantile(flat, at)) for at in (0.05, 0.25, 0.5, 0.75, 0.95)},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _against_champion(
    config: EvaluateConfig, pairs: PairTable, groups: Sequence[PreferenceGroup], test_digest: str, champion: str
) -> dict[str, Any]:
    """Return the champion's figures on the same comparisons; one gated on another test set counts as none."""
    if not champion:
        return {"champion": None, "champion_note": f"{config.name} has no champion"}
    record = ChampionRecord.from_json(champion)
    if record.test_digest != test_digest:
        return {"champion": None, "champion_note": f"{record.label} was gated on another test set and counts as none"}
    bundle = Bundle.open(resolve(f"models:/{record.label}")[0], record.label)
    return {"champion": against(groups, pairs, bundle), "champion_note": ""}


def _against_anchor(config: EvaluateConfig, pairs: PairTable, groups: Sequence[PreferenceGroup]) -> dict[str, Any]:
    if not config.anchor:
        return {"anchor": None, "anchor_note": "no anchor is named"}
    found, note = held_against(config.anchor, groups, pairs, name=config.name)
    return {"anchor": found, "anchor_note": note}


def _calibration(pairs: PairTable, temperature: float) -> dict[str, Any] | None:
    after, before = reliability(pairs, temperature), reliability(pairs, 1.0)
    if after is None or before is None:
        return None
    return {
        "value": after.ece,
        "before": before.ece,
        "brier": after.brier,
        "brier_before": before.brier,
        "nll": after.nll,
        "nll_before": before.nll,
        "temperature": temperature,
        "num": after.num,
        "bins": list(after.bins),
    }


def _drift(scored: Scored) -> dict[str, Any] | None:
    """Return how far the rewards are from those the bundle was calibrated on; None of models without a reference."""
    if scored.reference is None:
        return None
    found = drift(np.concatenate([np.asarray(each) for each in scored.rewards]), scored.reference)
    return {**found.to_dict(), "is_large": found.is_large} if found else None


def _scatter(rewards: Rewards, characters: Rewards, limit: int) -> list[list[float]]:
    points = [
        [length, reward]
        for given, lengths in zip(rewards, characters, strict=True)
        for length, reward in zip(lengths, given, strict=True)
    ]
    keep = np.linspace(0, len(points) - 1, min(limit, len(points))).astype(int)
    return [points[index] for index in keep]


def _mistakes(groups: Sequence[PreferenceGroup], rewards: Rewards, limit: int) -> list[dict[str, Any]]:
    """Return the comparisons that the rewards get most wrong."""
    wrong = [
        (given[entry.better] - given[entry.worse], group, entry, given)
        for group, given in zip(groups, rewards, strict=True)
        for entry in group.comparisons
        if entry.strength > 0.5 and given[entry.better] < given[entry.worse]
    ]
    wrong.sort(key=lambda row: row[0])
    return [
        {
            "id": group.id,
            "subset": group.subset,
            "prompt": prompt_text(group.prompt)[-1500:],
            "better": group.responses[entry.better][:1500],
            "worse": group.responses[entry.worse][:1500],
            "rewards": [given[entry.better], given[entry.worse]],
            "strength": entry.strength,
        }
        for _, group, entry, given in wrong[:limit]
    ]


def _sizes(groups: Sequence[PreferenceGroup]) -> dict[str, int]:
    return {"groups": len(groups), "comparisons": sum(len(group.comparisons) for group in groups)}


def _value(estimate: dict[str, Any] | None) -> float:
    return float("nan") if estimate is None else float(estimate["value"])
