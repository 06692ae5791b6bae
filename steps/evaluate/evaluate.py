"""Measure a bundle on labelled groups, through the engine that will serve it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rewardlab.bundle import Bundle
from rewardlab.config import Config
from rewardlab.drift import Reference, drift
from rewardlab.files import file_digest, read_groups, write_json
from rewardlab.groups import PreferenceGroup, prompt_text
from rewardlab.metrics import PairTable, accuracy, labelled_pairs, reliability, scored_pairs
from rewardlab.references import resolve
from rewardlab.reports import Calibration, ComparedModel, Data, Distribution, Evaluation, Histogram, Metrics, Mistake
from steps.common.scores import Rewards, score
from steps.common.statistics import Floats, length_correlation
from steps.evaluate.against import against, held_against
from steps.evaluate.agreement import best_of_n, ranking_agreement, rating_agreement
from steps.evaluate.baselines import baselines
from steps.evaluate.slices import by_subset, slices
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
    scored = scored_by(Bundle.open(bundle), groups)
    data = described(groups, path=test.name, md5=file_digest(test, "md5"))
    evaluation, pairs = measure(config, scored, groups, data)
    champion_found, champion_note = _against_champion(config, pairs, groups, test_digest, champion)
    anchor, anchor_note = (
        held_against(config.anchor, groups, pairs, name=config.name) if config.anchor else (None, "no anchor is named")
    )
    evaluation = replace(
        evaluation,
        test_digest=test_digest,
        champion=champion_found,
        champion_note=champion_note,
        anchor=anchor,
        anchor_note=anchor_note,
    )
    write_json(target, evaluation.to_dict())
    accuracy = evaluation.metrics.accuracy
    return EvaluateReport(digest=file_digest(target), accuracy=accuracy.value if accuracy else float("nan"))


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


def measure(
    config: EvaluateConfig, scored: Scored, groups: Sequence[PreferenceGroup], data: Data
) -> tuple[Evaluation, PairTable]:
    """Return every metric of the rewards that a model gave to groups, and the scored comparisons."""
    rewards, reference = scored.rewards, scored.reference
    flat = np.concatenate([np.asarray(row) for row in rewards])
    pairs = labelled_pairs(groups, rewards)
    lengths = np.array([float(len(text)) for group in groups for text in group.responses])
    scorers, policy_note = baselines(groups, scored.bundle, num_policy=config.num_policy)
    metrics = Metrics(
        accuracy=accuracy(pairs),
        accuracy_gold=accuracy(scored_pairs(groups, rewards, config.score_aspect)),
        ece=_calibration(pairs, scored.temperature),
        **rating_agreement(groups, rewards, config.score_aspect),
        rankings=ranking_agreement(groups, rewards),
        best_of_n=best_of_n(groups, rewards, config.score_aspect),
        length_correlation=length_correlation(groups, rewards),
    )
    evaluation = Evaluation(
        model=scored.label,
        bundle=scored.digest,
        data=data,
        metrics=metrics,
        drift=None if reference is None else drift(flat, reference),
        subsets=by_subset(groups, rewards, config.score_aspect),
        slices=slices(groups, pairs),
        baselines=scorers,
        policy_note=policy_note,
        rewards=_distribution(flat),
        scatter=_scatter(lengths, flat, config.num_scatter),
        mistakes=_mistakes(groups, rewards, config.num_mistakes),
    )
    return evaluation, pairs


def described(groups: Sequence[PreferenceGroup], *, path: str, md5: str, num_unreadable: int | None = None) -> Data:
    """Return what an evaluation says of the data that were measured on."""
    num = sum(len(group.comparisons) for group in groups)
    return Data(path=path, md5=md5, groups=len(groups), comparisons=num, unreadable=num_unreadable)


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


def _distribution(rewards: Floats) -> Distribution:
    """Return moments, quantiles and a histogram of all rewards."""
    counts, edges = np.histogram(rewards, bins=30)
    return Distribution(
        mean=float(rewards.mean()),
        sd=float(rewards.std()),
        min=float(rewards.min()),
        max=float(rewards.max()),
        num=len(rewards),
        quantiles={str(at): float(np.quantile(rewards, at)) for at in (0.05, 0.25, 0.5, 0.75, 0.95)},
        histogram=Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist())),
    )


def _against_champion(
    config: EvaluateConfig, pairs: PairTable, groups: Sequence[PreferenceGroup], test_digest: str, champion: str
) -> tuple[ComparedModel | None, str]:
    """Return the champion's figures on the same comparisons; one gated on another test set counts as none."""
    if not champion:
        return None, f"{config.name} has no champion"
    record = ChampionRecord.from_json(champion)
    if record.test_digest != test_digest:
        return None, f"{record.label} was gated on another test set and counts as none"
    bundle = Bundle.open(resolve(f"models:/{record.label}")[0], record.label)
    return against(groups, pairs, bundle), ""


def _calibration(pairs: PairTable, temperature: float) -> Calibration | None:
    after, before = reliability(pairs, temperature), reliability(pairs, 1.0)
    if after is None or before is None:
        return None
    return Calibration(
        value=after.ece,
        before=before.ece,
        brier=after.brier,
        brier_before=before.brier,
        nll=after.nll,
        nll_before=before.nll,
        temperature=temperature,
        num=after.num,
        bins=after.bins,
    )


def _scatter(lengths: Floats, rewards: Floats, limit: int) -> tuple[tuple[float, float], ...]:
    keep = np.linspace(0, len(rewards) - 1, min(limit, len(rewards))).astype(int)
    return tuple(zip(lengths[keep].tolist(), rewards[keep].tolist(), strict=True))


def _mistakes(groups: Sequence[PreferenceGroup], rewards: Rewards, limit: int) -> tuple[Mistake, ...]:
    """Return the comparisons that the rewards get most wrong."""
    wrong = [
        (given[entry.better] - given[entry.worse], group, entry, given)
        for group, given in zip(groups, rewards, strict=True)
        for entry in group.comparisons
        if entry.strength > 0.5 and given[entry.better] < given[entry.worse]
    ]
    wrong.sort(key=lambda row: row[0])
    return tuple(
        Mistake(
            id=group.id,
            subset=group.subset,
            prompt=prompt_text(group.prompt)[-1500:],
            better=group.responses[entry.better][:1500],
            worse=group.responses[entry.worse][:1500],
            rewards=(given[entry.better], given[entry.worse]),
            strength=entry.strength,
        )
        for _, group, entry, given in wrong[:limit]
    )
