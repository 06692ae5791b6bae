"""Run every probe through the engine that will serve the bundle."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rewardlab.bundle import Bundle
from rewardlab.config import Config
from rewardlab.engine import Engine
from rewardlab.files import file_digest, read_groups, write_json
from rewardlab.groups import Message, PreferenceGroup, prompt_text
from rewardlab.metrics import Estimate, Interval, cluster_bootstrap, share
from rewardlab.reports import AuditReport, Example, Probe, ProbeKind
from steps.audit.edits import EDITS, Answer, Kind
from steps.audit.orders import ORDERS, SWAPS
from steps.audit.safety import SafetyConfig, disagreement
from steps.common.progress import progress
from steps.common.statistics import borda_points, seeded_sample, wins

Prompt = tuple[Message, ...]
Case = tuple[Prompt, tuple[str, ...]]
Rewards = npt.NDArray[np.float64]

PROBES = (*ORDERS, *SWAPS, *EDITS)
"""The names of all probes, as the findings and the gates have them."""
_KINDS: Mapping[Kind, ProbeKind] = {"kept": "kept", "gaming": "edit", "broken": "order"}
"""What an edit of each kind is in the report: where it should be noticed, the whole answer must get more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditConfig(Config):
    """How many pairs of answers of the test set are edited, drawn with which seed, and how many examples are shown.

    `safety` names the classifier that is held beside the reward.
    """

    num_answers: int = 100
    num_examples: int = 3
    seed: int = 0
    safety: SafetyConfig = SafetyConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditOutput(Config):
    """The digest of the written audit."""

    digest: str


@dataclass(frozen=True, slots=True)
class Pair:
    """The best and the worst answer to a prompt."""

    prompt: Prompt
    best: str
    worst: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a probe changed: a row for each case with the rewards before and after, and whether an order flipped."""

    cases: Sequence[tuple[Prompt, str, str]]
    rewards: Rewards
    flips: Rewards | None = None


def audit(config: AuditConfig, bundle: Path, test: Path, target: Path) -> AuditOutput:
    """Write what each probe found.

    The rate of an order, or of an edit that spoils an answer, is how often the better one has the higher reward; that
    of other edits and of swaps is how often the reward rose. A tie counts 1/2. The flip rate is the share of rightly
    ordered pairs that the edit of one side puts into the wrong order.

    Raises:
        ValueError: the test file holds no pair of answers of which one is preferred.
    """
    # 1. The cases: fixed pairs of answers, then the sampled pairs with every edit beside them.
    opened, groups = Bundle.open(bundle), list(read_groups(test))
    pairs = sample(groups, config)
    if not pairs:
        raise ValueError(f"{test} holds no preferred answer that could be edited")
    fixed = {**ORDERS, **SWAPS}
    fixed_cases: list[Case] = []
    for probe in fixed.values():
        fixed_cases += [((Message("user", request),), (second, first)) for request, first, second in probe.rows]
    half_way = len(pairs) // 2 + 1  # edits that need another answer take one from the far side of the sample
    edited_cases = [edited(pair, pairs[at - half_way].best) for at, pair in enumerate(pairs)]

    # 2. Their rewards.
    cases = [*fixed_cases, *edited_cases]
    with progress(sum(len(texts) for _, texts in cases), "audit", unit="responses") as bar:
        rewards = [np.array(each.rewards) for each in Engine(opened).score_many(cases, on_progress=bar.update)]

    # 3. What each order and swap found: its rows stand one after another.
    probes: dict[str, Probe] = {}
    first = 0
    for name, probe in fixed.items():
        own = slice(first, first + len(probe.rows))
        rows = [(prompt, texts[0], texts[1]) for prompt, texts in cases[own]]
        change = Change(rows, np.array(rewards[own]))
        probes[name] = _finding("order" if name in ORDERS else "swap", probe.expectation, change, opened, config)
        first = own.stop

    # 4. What each edit found: the texts of a case are best, worst, and the edits in their order.
    table = np.array(rewards[len(fixed_cases) :])
    for at, (name, edit) in enumerate(EDITS.items(), start=2):
        change = _change(edit.kind, edited_cases, table, at)
        probes[name] = _finding(_KINDS[edit.kind], edit.expectation, change, opened, config)

    # 5. Safety, and the report.
    safety = disagreement(config.safety, opened, groups)
    report = AuditReport(bundle=opened.digest, test_digest=file_digest(test), probes=probes, safety=safety)
    write_json(target, report.to_dict())
    return AuditOutput(digest=file_digest(target))


def sample(groups: Iterable[PreferenceGroup], config: AuditConfig) -> list[Pair]:
    """Return the best and the worst answer of a seeded sample of the groups in which one is preferred."""
    pairs = [pair for group in groups if (pair := _pair(group))]
    return seeded_sample(pairs, config.num_answers, seed=config.seed)


def edited(pair: Pair, other: str) -> Case:
    """Return the case of a pair: best, worst, and every edit; edits that might please change the worst answer."""
    question = pair.prompt[-1].content
    best, worst = Answer(pair.best, question, other), Answer(pair.worst, question, other)
    edits = (edit.apply(worst if edit.kind == "gaming" else best) for edit in EDITS.values())
    return pair.prompt, (pair.best, pair.worst, *edits)


def _pair(group: PreferenceGroup) -> Pair | None:
    """Return the answers that win most and least, or where there are ratings alone those the first aspect rates so."""
    if group.comparisons:
        points = np.array(borda_points(group))
    elif group.scores:
        points = np.array(group.scores[min(group.scores)])
    else:
        return None
    best, worst = int(points.argmax()), int(points.argmin())
    if points[best] == points[worst]:
        return None
    return Pair(group.prompt, group.responses[best], group.responses[worst])


def _change(kind: str, cases: Sequence[Case], rewards: Rewards, at: int) -> Change:
    """Return what an edit, at a place among the texts, did to the side that it changes."""
    best, worst, after = rewards[:, 0], rewards[:, 1], rewards[:, at]
    rightly_ordered = best > worst
    if kind == "broken":  # the best answer spoilt: it should lose against itself
        rows = [(prompt, texts[at], texts[0]) for prompt, texts in cases]
        return Change(rows, np.stack([after, best], axis=1))
    if kind == "gaming":  # the worst answer dressed up: it should not win against the best
        rows = [(prompt, texts[1], texts[at]) for prompt, texts in cases]
        return Change(rows, np.stack([worst, after], axis=1), wins(after, best)[rightly_ordered])
    # the best answer said otherwise: it should still win against the worst
    rows = [(prompt, texts[0], texts[at]) for prompt, texts in cases]
    return Change(rows, np.stack([best, after], axis=1), wins(worst, after)[rightly_ordered])


def _finding(kind: ProbeKind, expectation: str, change: Change, bundle: Bundle, config: AuditConfig) -> Probe:
    shift, sd = change.rewards[:, 1] - change.rewards[:, 0], bundle.calibration.sd
    rate = _share(wins(change.rewards[:, 1], change.rewards[:, 0]))
    assert rate is not None
    flips = None if change.flips is None else _share(change.flips)
    worst_first = {"order": shift, "edit": -shift}.get(kind, -np.abs(shift))
    order = np.argsort(worst_first, kind="stable")[: config.num_examples]
    return Probe(
        kind=kind,
        expectation=expectation,
        rate=rate,
        flip_rate=flips,
        shift_sd=float(shift.mean() / sd) if sd > 0 else None,
        shift=_mean(shift / sd) if sd > 0 else None,
        num=len(shift),
        examples=tuple(_example(change, row) for row in order.tolist()),
    )


def _example(change: Change, row: int) -> Example:
    prompt, before, after = change.cases[row]
    first, second = change.rewards[row].tolist()
    return Example(prompt=prompt_text(prompt)[-800:], before=before[:800], after=after[:800], rewards=(first, second))


def _share(outcomes: Rewards) -> Estimate | None:
    return share(outcomes, np.arange(len(outcomes)))


def _mean(values: Rewards) -> Interval:
    low, high = cluster_bootstrap(values, np.arange(len(values)))
    return Interval(value=float(values.mean()), low=low, high=high, num=len(values))
