"""What a decision rests on, read so that nothing doubtful passes for a number."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from steps.registry.client import ChampionRecord

REPORTS = ("evaluation", "audit", "export")
_ROUNDING = 1e-6
"""What a share may miss an end of its interval by: Wilson's interval of 0 in 12 begins at 3e-17."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The reports a decision rests on, and what they must be about.

    `now` is the time of the decision, `data_time` when the data last changed ("" where that is not known).
    """

    evaluation: Mapping[str, Any]
    audit: Mapping[str, Any]
    export: Mapping[str, Any]
    bundle: str
    test_digest: str
    champion: ChampionRecord | None
    data_time: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The lower end of the candidate's accuracy minus another model's, and the confidence of the interval."""

    low: float
    confidence: float


def read_evidence(
    reports: Mapping[str, Path], *, bundle: str, test_digest: str, champion: str, data_time: str, now: datetime
) -> Evidence:
    """Read the reports `evaluation`, `audit` and `export`.

    Args:
        reports: the path of each.
        bundle: the digest of the bundle they must be about.
        test_digest: the digest of the test set they must be about.
        champion: the champion's record as JSON, or nothing.
        data_time: when the data last changed, or nothing.
        now: the time of the decision.

    Raises:
        ValueError: a report is no JSON object, or says something twice.
    """
    return Evidence(
        evaluation=_read(reports["evaluation"]),
        audit=_read(reports["audit"]),
        export=_read(reports["export"]),
        bundle=bundle,
        test_digest=test_digest,
        champion=ChampionRecord.from_json(champion) if champion else None,
        data_time=data_time,
        now=now,
    )


def number(value: Any) -> float | None:
    """Return a finite number, else None; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return found if math.isfinite(found) else None


def look_up(path: str, evidence: Evidence) -> float | None:
    """Return the finite number at a path, else None.

    One of an interval counts only where the interval is one, one of a sample only where the sample holds something.
    """
    report, *keys = path.split(".")
    if report not in REPORTS or not keys:
        return None
    value: Any = getattr(evidence, report)
    for key in keys:
        parent, value = value, value.get(key) if isinstance(value, Mapping) else None
    found = number(value)
    return found if found is not None and _sound(parent) else None


def _sound(estimate: Mapping[str, Any]) -> bool:
    """Return whether an estimate that has an end of an interval is one, and rests on something if it says on what."""
    if estimate.keys() & {"low", "high"} and interval(estimate) is None:
        return False
    return "num" not in estimate or count(estimate["num"]) is not None


def interval(estimate: Any) -> tuple[float, float, float] | None:
    """Return value, low and high of an estimate whose value lies between its ends, else None."""
    if not isinstance(estimate, Mapping):
        return None
    value, low, high = (number(estimate.get(name)) for name in ("value", "low", "high"))
    if value is None or low is None or high is None or not low - _ROUNDING <= value <= high + _ROUNDING:
        return None
    return value, low, high


def share(estimate: Any) -> tuple[float, float, float] | None:
    """Return value, low and high of an estimate that is an interval of shares, else None."""
    found = interval(estimate)
    return found if found and found[1] >= -_ROUNDING and found[2] <= 1 + _ROUNDING else None


def accuracy(evidence: Evidence) -> Mapping[str, Any]:
    """Return the candidate's accuracy if it is an interval of shares, else nothing."""
    metrics = evidence.evaluation.get("metrics")
    found = metrics.get("accuracy") if isinstance(metrics, Mapping) else None
    return found if isinstance(found, Mapping) and share(found) else {}


def count(value: Any) -> int | None:
    """Return a positive whole number, else None; one beyond the range of a float counts nothing that there is."""
    return value if isinstance(value, int) and (number(value) or 0) > 0 else None


def difference(compared: Any, evidence: Evidence) -> Difference | str:
    """Return a comparison's difference, or why it says nothing.

    It must be about another bundle than the candidate's and about this test set, rest on the comparisons that the
    candidate's accuracy rests on, and be the candidate's accuracy minus the other's: with the sides swapped it is not.
    """
    if note := _not_about_another(compared, evidence):
        return note
    change, ours = compared.get("difference"), accuracy(evidence)
    found, theirs = interval(change), share(compared.get("accuracy"))
    if found is None or not ours or theirs is None:
        return "the difference is missing or no interval of finite numbers"
    num, confidence = count(change.get("num")), number(change.get("confidence", 0.95))
    if num is None or num != ours.get("num"):
        return f"the difference rests on {change.get('num')} comparisons, the accuracy on {ours.get('num')}"
    if abs(ours["value"] - theirs[0] - found[0]) > _ROUNDING:
        return "the difference is not the candidate's accuracy minus the other's"
    if confidence is None or not 0 < confidence < 1:
        return "the interval's confidence is no share"
    return Difference(low=found[1], confidence=confidence)


def _not_about_another(compared: Any, evidence: Evidence) -> str:
    """Return why a comparison is not one with another bundle on this test set, or nothing."""
    if not isinstance(compared, Mapping) or not compared.get("bundle") or not isinstance(compared["bundle"], str):
        return "there is no comparison"
    if compared["bundle"] == evidence.bundle:
        return "the candidate was compared with itself"
    if compared.get("test_digest", evidence.test_digest) != evidence.test_digest:
        return "the comparison is about another test set"
    return ""


def _read(source: Path) -> Mapping[str, Any]:
    try:
        report = json.loads(source.read_bytes(), object_pairs_hook=_once)
    except ValueError as error:
        raise ValueError(f"{source} is no report: {error}") from error
    if not isinstance(report, dict):
        raise ValueError(f"{source} is no report: it holds no JSON object")
    return report


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse an object that names something twice: readers would differ in which of the two they take."""
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"it says {', '.join(twice)} twice")
    return dict(pairs)
