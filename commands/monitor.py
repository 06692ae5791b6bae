"""Watch the scores that a model gives: `rewardlab monitor --log scores.jsonl`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rewardlab.bundle import Bundle
from rewardlab.config import Report
from rewardlab.drift import Reference, drift
from rewardlab.files import open_text, write_text
from rewardlab.groups import PreferenceGroup, messages
from rewardlab.references import resolve
from steps.common.statistics import length_correlation
from steps.report.page import environment

Rewards = npt.NDArray[np.float64]

MIN_REWARDS = 50
"""Fewer rewards, of all or of a subset, say nothing of a distribution."""
_GAIN_SD, _LENGTH, _TRUNCATED = 1.0, 0.2, 0.1
_PARTS = 10


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log: what was scored, and how."""

    rewards: tuple[float, ...]
    truncated: tuple[bool, ...]
    group: PreferenceGroup | None
    subset: str


@dataclass(frozen=True, slots=True)
class Check(Report):
    """What was looked at, what was found, the limit, and whether it holds; None where it could not be measured."""

    name: str
    found: float | None
    limit: str
    holds: bool | None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Monitoring(Report):
    """What was found in a log of scores, and whether all limits hold."""

    model: str
    log: str
    lines: int
    failed_lines: int
    rewards: int
    checks: tuple[Check, ...]
    holds: bool


def monitor(log: Path, model: str, *, name: str, page: Path) -> Monitoring:
    """Hold a log of scores against the reference of the bundle that gave them, and write a page.

    A line is one of `rewardlab score`'s, in order of time: `rewards`, and where they are known `truncated`, `prompt`
    with `responses`, `subset` and `model`.

    Raises:
        ValueError: the log cannot be read, holds too few rewards, or scores of another model; the bundle has no
            reference.
    """
    bundle = Bundle.open(*resolve(model, name=name))
    lines, failed = _read(log, bundle.label)
    rewards = np.array([reward for line in lines for reward in line.rewards])
    if len(rewards) < MIN_REWARDS:
        raise ValueError(f"{log} holds {len(rewards)} rewards: {MIN_REWARDS} are the least that can be judged")
    checks = (*_whole(rewards, bundle), *_by_subset(lines, bundle), *_conduct(lines, bundle), *_gains(lines, bundle))
    result = Monitoring(
        model=bundle.label,
        log=str(log),
        lines=len(lines),
        failed_lines=failed,
        rewards=len(rewards),
        checks=checks,
        holds=not any(check.holds is False for check in checks),
    )
    template = environment(autoescape=True).get_template("monitor.html.j2")
    write_text(page, template.render(result=result))
    return result


def _whole(rewards: Rewards, bundle: Bundle) -> Iterator[Check]:
    yield from _drifted("all rewards", rewards.tolist(), bundle.calibration.reference)


def _by_subset(lines: Sequence[Line], bundle: Bundle) -> Iterator[Check]:
    """Hold each subset against the same subset of the calibration split."""
    found: dict[str, list[float]] = {}
    for line in lines:
        found.setdefault(line.subset, []).extend(line.rewards)
    for subset, rewards in sorted(found.items()):
        if not subset:
            continue
        reference = bundle.calibration.subsets.get(subset)
        if reference is None or len(rewards) < MIN_REWARDS:
            why = "the bundle has no reference for it" if reference is None else f"only {len(rewards)} rewards"
            yield Check(f"subset {subset}", None, "", None, why)
        else:
            yield from _drifted(f"subset {subset}", rewards, reference)


def _drifted(name: str, rewards: Sequence[float], reference: Reference) -> Iterator[Check]:
    found = drift(rewards, reference)
    assert found is not None
    limit = f"< 0.25, or below the noise of {found.psi_noise:.3f}"
    note = f"KS {found.ks:.3f} (p = {found.ks_p_value:.2g}), n = {found.num}"
    yield Check(f"{name}: population stability index", found.psi, limit, not found.is_large, note)
    if found.shift_sd is not None:
        high = found.shift_sd > _GAIN_SD
        yield Check(f"{name}: gain of the mean, in s.d.", found.shift_sd, f"<= {_GAIN_SD}", not high)


def _conduct(lines: Sequence[Line], bundle: Bundle) -> Iterator[Check]:
    """Say whether rewards follow length more than they did, and whether more responses are cut."""
    known = [line for line in lines if line.group]
    usual = bundle.calibration.length_correlation
    found = length_correlation([line.group for line in known if line.group], [line.rewards for line in known])
    if found is None or usual is None:
        yield Check("length correlation", None, "", None, "the log holds no prompts with several responses")
    else:
        low, high = usual - _LENGTH, usual + _LENGTH
        note = f"95 % interval {found.low:.3f} to {found.high:.3f}"
        holds = found.low <= high and found.high >= low
        yield Check("length correlation", found.value, f"{low:.2f} to {high:.2f}", holds, note)
    cut = [each for line in lines for each in line.truncated]
    if not cut or bundle.calibration.truncated is None:
        yield Check("truncated responses", None, "", None, "the log does not say which were truncated")
    else:
        most, share = bundle.calibration.truncated + _TRUNCATED, float(np.mean(cut))
        yield Check("truncated responses", share, f"<= {most:.2f}", share <= most)


def _gains(lines: Sequence[Line], bundle: Bundle) -> Iterator[Check]:
    """Look for a jump of the mean from one tenth of the log to the next: a policy that has found a trick.

    A line counts once, with its mean, as the rewards to one prompt are alike. A jump counts that is over the limit and
    over 4 standard errors of the difference: it is looked for 9 times.
    """
    means = np.array([np.mean(line.rewards) for line in lines if line.rewards])
    sd = bundle.calibration.sd
    if len(means) < 2 * _PARTS or not sd > 0:
        yield Check("sudden gain", None, "", None, f"fewer than {2 * _PARTS} lines")
        return
    jumps = []
    for before, after in pairwise(np.array_split(means, _PARTS)):
        jumps.append((float(after.mean() - before.mean()) / sd, _noise(before, after) / sd))
    gain, noise = max(jumps)
    limit = f"<= {_GAIN_SD / 2} between tenths, or below the noise of {noise:.3f}"
    yield Check("sudden gain, in s.d.", gain, limit, gain <= _GAIN_SD / 2 or gain <= noise)


def _noise(before: Rewards, after: Rewards) -> float:
    """Return 4 standard errors of the difference of two means."""
    return 4.0 * float(np.sqrt(before.var(ddof=1) / len(before) + after.var(ddof=1) / len(after)))


def _read(log: Path, label: str) -> tuple[list[Line], int]:
    """Return the lines that hold rewards and how many hold an error instead.

    Raises:
        ValueError: a line is no score, or another model's.
    """
    lines, failed = [], 0
    with open_text(log) as file:
        for number, text in enumerate(file, start=1):
            try:
                row = json.loads(text)
                if not isinstance(row, dict):
                    raise ValueError("it is no object")
                if row.get("rewards") is None and row.get("error"):
                    failed += 1
                    continue
                lines.append(_line(row, label))
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{log} line {number} is no score: {error}") from error
    return lines, failed


def _line(row: Mapping[str, Any], label: str) -> Line:
    if row.get("model") not in (None, label):
        raise ValueError(f"it was given by {row['model']}, not by {label}")
    rewards = tuple(float(reward) for reward in row["rewards"])
    responses = row.get("responses") or ()
    group = None
    if row.get("prompt") and rewards and len(responses) == len(rewards):
        group = PreferenceGroup(id="", prompt=messages(row["prompt"]), responses=tuple(responses))
    truncated = tuple(map(bool, row.get("truncated") or ()))
    return Line(rewards, truncated, group, str(row.get("subset") or ""))


def table(result: Monitoring) -> str:
    """Return what was found as lines for a terminal."""
    words = {True: "holds", False: "DOES NOT HOLD", None: "not measured"}
    lines = [f"{result.model}: {result.rewards} rewards in {result.lines} lines"]
    for check in result.checks:
        found = "" if check.found is None else f"{check.found:.3f}, limit {check.limit}"
        lines.append(f"  {words[check.holds]:<14} {check.name}: {found or check.note}")
    return "\n".join(lines)
