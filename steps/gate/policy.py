"""The policy: which rules a candidate is held against. A rule that could not decide is refused when it is written."""

import math
from dataclasses import dataclass
from typing import Literal

from rewardlab.config import Config

End = Literal["value", "low", "high"]
_CENTURY_DAYS = 36525


def _check_bounds(name: str, minimum: float | None, maximum: float | None) -> None:
    bounds = [bound for bound in (minimum, maximum) if bound is not None]
    if not bounds or not all(math.isfinite(bound) for bound in bounds):
        raise ValueError(f"the rule {name!r} needs a finite minimum or maximum, got {bounds}")
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ValueError(f"the rule {name!r} can never pass: {minimum} > {maximum}")


def _check_margin(what: str, margin: float) -> None:
    if not 0 <= margin < 1:
        raise ValueError(f"{what} is in [0, 1), got {margin}")


def _check_confidence(confidence: float) -> None:
    if not 0.5 <= confidence < 1:
        raise ValueError(f"a confidence is in [0.5, 1), got {confidence}")


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
        _check_bounds(self.name, self.minimum, self.maximum)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditLimit(Config):
    """A probe's rate must lie within bounds, both inclusive; `end` says which end of its interval is held to them.

    For an order the rate is how often it holds, for an edit how often it raised the reward.
    """

    probe: str
    end: End = "value"
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        _check_bounds(f"audit {self.probe}", self.minimum, self.maximum)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity(Config):
    """The engines' largest disagreement, as a share of what is tolerated, is `maximum` at most."""

    maximum: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.maximum <= 1:
            raise ValueError(f"parity is a share of the tolerance in (0, 1], got {self.maximum}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MinimumSample(Config):
    """Accuracy, and each difference, rests on this many comparisons at least."""

    comparisons: int

    def __post_init__(self) -> None:
        if self.comparisons < 1:
            raise ValueError(f"a sample holds at least 1 comparison, got {self.comparisons}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NonInferior(Config):
    """The candidate may be worse than the champion by `margin` at most: the interval's lower end counts.

    `confidence` is what the interval must have at least; the evaluation's has 0.95 unless it says otherwise.
    """

    margin: float = 0.02
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check_margin("a non-inferiority margin", self.margin)
        _check_confidence(self.confidence)


@dataclass(frozen=True, kw_only=True, slots=True)
class Superior(Config):
    """The candidate must be better than the champion by more than `gain`: the interval's lower end counts."""

    gain: float = 0.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check_margin("a gain", self.gain)
        _check_confidence(self.confidence)


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundedDrift(Config):
    """The candidate may be worse than one fixed version, `anchor`, by `margin` at most.

    Each champion may be a little worse than the one before; this keeps the steps from adding up. `anchor` is
    `NAME/VERSION`, and the evaluation must have compared with it.
    """

    anchor: str
    margin: float = 0.03
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not all(self.anchor.rpartition("/")):
            raise ValueError(f"an anchor is NAME/VERSION, got {self.anchor!r}")
        _check_margin("a drift's margin", self.margin)
        _check_confidence(self.confidence)


@dataclass(frozen=True, kw_only=True, slots=True)
class Freshness(Config):
    """How old the evidence and the data may be, in days: since the bundle was sealed, since the data last changed."""

    evidence_days: float | None = None
    data_days: float | None = None

    def __post_init__(self) -> None:
        given = [days for days in (self.evidence_days, self.data_days) if days is not None]
        if not given or not all(0 < days <= _CENTURY_DAYS for days in given):
            raise ValueError(f"freshness is days, a century at most, for evidence, data or both, got {given}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SignOff(Config):
    """So many people must have signed the report before one of these aliases moves: see `rewardlab approve`.

    `production` follows `champion` by itself, so that who must sign for it must sign before a version is champion.
    """

    aliases: tuple[Literal["champion", "production"], ...] = ("champion",)
    people: int = 1

    def __post_init__(self) -> None:
        if self.people < 1 or not self.aliases:
            raise ValueError(f"at least one person signs for at least one alias, got {self.people}, {self.aliases}")


@dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig(Config):
    """The policy: every rule that is given must hold. Parity and the comparison with the champion are always held."""

    limits: tuple[Limit, ...]
    audits: tuple[AuditLimit, ...] = ()
    parity: Parity = Parity()
    sample: MinimumSample | None = None
    non_inferior: NonInferior = NonInferior()
    superior: Superior | None = None
    drift: BoundedDrift | None = None
    freshness: Freshness | None = None
    sign_off: SignOff | None = None

    def __post_init__(self) -> None:
        names = [limit.name for limit in self.limits]
        if not names:
            raise ValueError("a gate without limits would let anything through: give at least one")
        if len(set(names)) != len(names):
            raise ValueError(f"rules have different names, got {names}")
        ends = [(audit.probe, audit.end) for audit in self.audits]
        if len(set(ends)) != len(ends):
            raise ValueError(f"a probe is limited once for each end, got {ends}")
