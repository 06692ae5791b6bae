"""Hold the candidate against its limits and against the champion; anything missing means no."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rewardlab.config import Config
from rewardlab.files import file_digest, read_json, write_json
from steps.registry import ChampionRecord

Verdict = Literal["pass", "fail", "unchanged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit(Config):
    """Evidence that must lie within bounds, both inclusive.

    `evidence` is a path into the reports, such as `evaluation.metrics.accuracy.low`,
    `audit.probes.refusal_order.rate.value` or `export.parity.max_error`.
    """

    name: str
    evidence: str
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.minimum, self.maximum) if bound is not None]
        if not bounds or not all(math.isfinite(bound) for bound in bounds):
            raise ValueError(f"the rule {self.name!r} needs a finite minimum or maximum, got {bounds}")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"the rule {self.name!r} can never pass: {self.minimum} > {self.maximum}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NonInferior(Config):
    """The candidate may be worse than the champion by `margin` at most: the interval's lower end counts."""

    margin: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise ValueError(f"a non-inferiority margin is in [0, 1), got {self.margin}")


@dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig(Config):
    """The policy: every limit, and the comparison with the champion, must hold."""

    limits: tuple[Limit, ...]
    non_inferior: NonInferior = NonInferior()

    def __post_init__(self) -> None:
        names = [limit.name for limit in self.limits]
        if not names:
            raise ValueError("a gate without limits would let anything through: give at least one")
        if len(set(names)) != len(names):
            raise ValueError(f"rules have different names, got {names}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The reports a decision rests on, and what they must be about."""

    evaluation: Mapping[str, Any]
    audit: Mapping[str, Any]
    export: Mapping[str, Any]
    bundle: str
    test_digest: str
    champion: ChampionRecord | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GateReport(Config):
    """The verdict; `promote` is true only for `pass`."""

    digest: str
    verdict: Verdict
    reason: str

    @property
    def promote(self) -> bool:
        """Return whether the candidate may become champion."""
        return self.verdict == "pass"


def gate(config: GateConfig, evidence: Evidence, target: Path) -> GateReport:
    """Decide and write the decision with the evidence of every rule."""
    rules = [_current(evidence), *(_limit(limit, evidence) for limit in config.limits), _champion(config, evidence)]
    failed = [rule for rule in rules if rule["verdict"] != "pass"]
    champion = evidence.champion
    if champion and evidence.bundle == champion.bundle:
        verdict: Verdict = "unchanged"
        reason = f"the bundle is the champion's own ({champion.label})"
    elif failed:
        verdict, reason = "fail", "; ".join(f"{rule['name']}: {rule['note']}" for rule in failed)
    else:
        verdict, reason = "pass", f"all {len(rules)} rules hold"
    write_json(
        target,
        {
            "verdict": verdict,
            "reason": reason,
            "bundle": evidence.bundle,
            "champion": champion.label if champion else "",
            "test_digest": evidence.test_digest,
            "rules": rules,
            "policy": config.to_dict(),
        },
    )
    return GateReport(digest=file_digest(target), verdict=verdict, reason=reason)


def read_evidence(reports: Mapping[str, Path], *, bundle: str, test_digest: str, champion: str) -> Evidence:
    """Read the reports `evaluation`, `audit` and `export`.

    Args:
        reports: the path of each.
        bundle: the digest of the bundle they must be about.
        test_digest: the digest of the test set they must be about.
        champion: the champion's record as JSON, or nothing.
    """
    return Evidence(
        evaluation=read_json(reports["evaluation"]),
        audit=read_json(reports["audit"]),
        export=read_json(reports["export"]),
        bundle=bundle,
        test_digest=test_digest,
        champion=ChampionRecord.from_json(champion) if champion else None,
    )


def _current(evidence: Evidence) -> dict[str, Any]:
    """Every report must be about this bundle and this test set."""
    found = {
        "evaluation.bundle": evidence.evaluation.get("bundle"),
        "audit.bundle": evidence.audit.get("bundle"),
        "export.digest": evidence.export.get("digest"),
        "evaluation.test_digest": evidence.evaluation.get("test_digest"),
        "audit.test_digest": evidence.audit.get("test_digest"),
    }
    wanted = {name: evidence.test_digest if name.endswith("test_digest") else evidence.bundle for name in found}
    stale = [name for name, value in found.items() if not value or value != wanted[name]]
    note = f"{', '.join(stale)} is about something else" if stale else ""
    return _rule("reports are about this bundle", len(found) - len(stale), f"all {len(found)}", note)


def _limit(limit: Limit, evidence: Evidence) -> dict[str, Any]:
    value = _look_up(limit.evidence, evidence)
    low = "" if limit.minimum is None else f">= {limit.minimum:g}"
    high = "" if limit.maximum is None else f"<= {limit.maximum:g}"
    threshold = " and ".join(filter(None, (low, high)))
    if value is None:
        note = f"{limit.evidence} is missing or not a finite number"
    elif limit.minimum is not None and value < limit.minimum:
        note = f"{value:.4g} is below {limit.minimum:g}"
    elif limit.maximum is not None and value > limit.maximum:
        note = f"{value:.4g} is above {limit.maximum:g}"
    else:
        note = ""
    return _rule(limit.name, value, threshold, note)


def _champion(config: GateConfig, evidence: Evidence) -> dict[str, Any]:
    """A champion gated on this test set must have been compared with; a first candidate needs none."""
    name = "not worse than the champion"
    threshold = f"lower end of the accuracy difference >= -{config.non_inferior.margin:g}"
    champion = evidence.champion
    if champion is None:
        return _rule(name, "there is no champion", threshold, "")
    if champion.test_digest != evidence.test_digest:
        return _rule(name, f"{champion.label} was gated on another test set and counts as none", threshold, "")
    measured = evidence.evaluation.get("champion")
    if not isinstance(measured, Mapping) or measured.get("bundle") != champion.bundle:
        return _rule(name, None, threshold, f"the evaluation did not compare with {champion.label}")
    low = _look_up("evaluation.champion.difference.low", evidence)
    if low is None:
        return _rule(name, None, threshold, "the difference is missing or not a finite number")
    short = "" if low >= -config.non_inferior.margin else f"{low:+.4f} is below -{config.non_inferior.margin:g}"
    return _rule(name, low, threshold, short)


def _look_up(path: str, evidence: Evidence) -> float | None:
    """Return the finite number at a path, else None."""
    report, *keys = path.split(".")
    value: Any = {"evaluation": evidence.evaluation, "audit": evidence.audit, "export": evidence.export}.get(report)
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _rule(name: str, evidence: Any, threshold: str, note: str) -> dict[str, Any]:
    """Return a rule's row; a note says why it fails."""
    return {
        "name": name,
        "evidence": evidence,
        "threshold": threshold,
        "verdict": "fail" if note else "pass",
        "note": note,
    }
