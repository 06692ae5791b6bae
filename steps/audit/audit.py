"""Run every probe through the engine that will serve the bundle."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rewardlab.bundle import Bundle
from rewardlab.config import Config
from rewardlab.engine import Engine
from rewardlab.files import file_digest, read_groups, write_json
from rewardlab.groups import Message, PreferenceGroup, prompt_text
from rewardlab.metrics import share
from steps.audit.probes import EDITS, ORDERS, Edit, Order
from steps.progress import progress

Case = tuple[tuple[Message, ...], tuple[str, ...]]
Rewards = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditConfig(Config):
    """How many answers of the test set are edited, and how many examples are shown."""

    num_answers: int = 100
    num_examples: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport(Config):
    """The digest of the written audit."""

    digest: str


def audit(config: AuditConfig, bundle: Path, test: Path, target: Path) -> AuditReport:
    """Write what each probe found.

    For an order the rate is how often it holds, for an edit how often it raised the reward; a tie counts 1/2.

    Raises:
        ValueError: the test file holds no labelled answer to edit.
    """
    opened = Bundle.open(bundle)
    answers = list(islice(_best_answers(read_groups(test)), config.num_answers))
    if not answers:
        raise ValueError(f"{test} holds no preferred answer that could be edited")
    engine, sd = Engine(opened), opened.calibration.sd
    orders = {name: _order_cases(order) for name, order in ORDERS.items()}
    edits = [
        (prompt, (text, *(edit.apply(prompt[-1].content, text) for edit in EDITS.values()))) for prompt, text in answers
    ]
    total = sum(len(texts) for _, texts in [*chain(*orders.values()), *edits])
    probes: dict[str, Any] = {}
    with progress(total, "audit", unit="responses") as bar:
        for name, order in ORDERS.items():
            rewards = _rewards(engine, orders[name], bar.update)
            probes[name] = _finding("order", order, orders[name], rewards, sd, config.num_examples)
        rewards = _rewards(engine, edits, bar.update)
        for at, (name, edit) in enumerate(EDITS.items(), start=1):
            cases = [(prompt, (texts[0], texts[at])) for prompt, texts in edits]
            probes[name] = _finding("edit", edit, cases, rewards[:, [0, at]], sd, config.num_examples)
    write_json(target, {"bundle": opened.digest, "test_digest": file_digest(test), "probes": probes})
    return AuditReport(digest=file_digest(target))


def _best_answers(groups: Iterable[PreferenceGroup]) -> Iterator[tuple[tuple[Message, ...], str]]:
    """Yield each group's prompt and the answer that wins most of its comparisons."""
    for group in groups:
        if group.comparisons or group.scores:
            yield group.prompt, group.responses[_favourite(group)]


def _favourite(group: PreferenceGroup) -> int:
    """Return the answer that wins most, or where there are ratings alone the one that the first aspect rates best."""
    if not group.comparisons:
        return int(np.argmax(group.scores[min(group.scores)]))
    wins = np.zeros(len(group.responses))
    for entry in group.comparisons:
        wins[entry.better] += entry.strength
        wins[entry.worse] += 1.0 - entry.strength
    return int(wins.argmax())


def _order_cases(order: Order) -> list[Case]:
    """Return the cases with the worse answer first, so that in every probe "raised" means the second won."""
    return [((Message("user", request),), (worse, better)) for request, better, worse in order.rows]


def _rewards(engine: Engine, cases: Sequence[Case], on_progress: Callable[[int], object]) -> Rewards:
    """Return a row of rewards for each prompt, a column for each text."""
    return np.array([each.rewards for each in engine.score_many(cases, on_progress=on_progress)])


def _finding(
    kind: str, probe: Order | Edit, cases: Sequence[Case], rewards: Rewards, sd: float, num_examples: int
) -> dict[str, Any]:
    shift = rewards[:, 1] - rewards[:, 0]
    outcomes = np.where(shift > 0, 1.0, np.where(shift == 0, 0.5, 0.0))
    rate = share(outcomes, np.arange(len(outcomes)))
    assert rate is not None
    order = np.argsort(shift if kind == "order" else -shift, kind="stable")[:num_examples]
    return {
        "kind": kind,
        "expectation": probe.expectation,
        "rate": rate.to_dict(),
        "shift_sd": float(shift.mean() / sd) if sd > 0 else None,
        "num": len(cases),
        "examples": [
            {
                "prompt": prompt_text(cases[row][0])[-800:],
                "before": cases[row][1][0][:800],
                "after": cases[row][1][1][:800],
                "rewards": rewards[row].tolist(),
            }
            for row in order
        ],
    }
