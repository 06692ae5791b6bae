"""How far rewards have moved from the distribution a bundle was sealed with: one definition for all who watch it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt

from rewardlab.config import Config, Report, schema

Floats = npt.NDArray[np.float64]

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99, 1.0)
"""The quantiles that a reference keeps; 0 and 1 are the least and the greatest value."""
LARGE_PSI = 0.25
"""From here on a population stability index is read as a large shift (Siddiqi 2006, Credit Risk Scorecards, ch. 8)."""
_Z_99 = 2.3263478740408408


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference(Config):
    """A distribution of rewards: its quantiles by level, and of how many rewards they are."""

    mean: float
    sd: float
    quantiles: dict[str, float]
    num: int

    @classmethod
    def of(cls, rewards: Sequence[float] | Floats) -> Self:
        """Return the reference that some rewards, at least one, make.

        Example:
            >>> Reference.of([0.0, 1.0, 2.0]).quantiles["0.5"]
            1.0
        """
        flat = np.asarray(rewards, dtype=np.float64)
        quantiles = {str(level): float(np.quantile(flat, level)) for level in LEVELS}
        return cls(mean=float(flat.mean()), sd=float(flat.std()), quantiles=quantiles, num=len(flat))

    @property
    def curve(self) -> tuple[Floats, Floats]:
        """Return values, each once and in order, and the share of the rewards that are at most as large."""
        pairs = sorted((float(level), value) for level, value in self.quantiles.items())
        levels, values = (np.array(column) for column in zip(*pairs, strict=True))
        kept = np.append(np.diff(values) > 0, True)  # of equal values the highest level: rewards up to here
        return values[kept], levels[kept]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift(Report):
    """How far `num` rewards are from a reference.

    `psi_noise` is what the index stays below in 99 of 100 samples that have not moved; `ks_p_value` is for "they have
    not moved"; `shift_sd` is the change of the mean in the reference's standard deviations, None where it has none.
    The shift is large where it is so by `psi`, and larger than samples of these sizes show by chance.
    """

    psi: float
    psi_noise: float
    ks: float
    ks_p_value: float
    shift_sd: float | None
    num: Annotated[int, schema(minimum=1)]
    is_large: bool


def drift(rewards: Sequence[float] | Floats, reference: Reference) -> Drift | None:
    """Measure how far rewards are from a reference; None when there are none.

    Raises:
        ValueError: the reference is of no rewards, as in bundles that were sealed without one, or a reward is not
            finite.
    """
    found = np.asarray(rewards, dtype=np.float64)
    if reference.num < 1 or not reference.quantiles:
        raise ValueError("the bundle holds no reference distribution of rewards: export it again")
    if not np.isfinite(found).all():
        raise ValueError("a reward is not finite: it has no place in a distribution")
    if not len(found):
        return None
    distance = ks(found, reference)
    index, noise = psi(found, reference), psi_noise(len(found), reference)
    return Drift(
        psi=index,
        psi_noise=noise,
        ks=distance,
        ks_p_value=kolmogorov(distance, len(found), reference.num),
        shift_sd=float((found.mean() - reference.mean) / reference.sd) if reference.sd > 0 else None,
        num=len(found),
        is_large=index >= LARGE_PSI and index > noise,
    )


def psi(rewards: Floats, reference: Reference) -> float:
    """Return the population stability index, sum (a - e) ln(a / e) over the bins between the reference's quantiles.

    `a` and `e` are the actual and the expected share of a bin (Siddiqi 2006, ch. 8); an empty bin counts as half a
    reward, so that the index is finite. Siddiqi reads 0.1 as a slight shift and 0.25 as a large one.
    """
    edges, expected = _bins(reference)
    counts = np.bincount(np.searchsorted(edges, rewards, side="left"), minlength=len(expected))
    actual = np.maximum(counts, 0.5) / len(rewards)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def psi_noise(num: int, reference: Reference) -> float:
    """Return the 99 % quantile of the index of `num` rewards that have not moved.

    It is (1/num + 1/reference.num) times that of chi-squared with one degree of freedom less than there are bins
    (Yurdakul & Naranjo 2020, J. Risk Model Validation 14(4), section 3), by Wilson and Hilferty's cube (1931).
    """
    freedom = len(_bins(reference)[1]) - 1
    if freedom < 1:
        return 0.0
    spread = 2.0 / (9.0 * freedom)
    quantile = freedom * (1.0 - spread + _Z_99 * np.sqrt(spread)) ** 3
    return float(quantile * (1.0 / num + 1.0 / reference.num))


def ks(rewards: Floats, reference: Reference) -> float:
    """Return Kolmogorov and Smirnov's distance, the reference's distribution being straight between its quantiles."""
    values, levels = reference.curve
    ordered, num = np.sort(rewards), len(rewards)
    share_until, share_before = np.arange(1, num + 1) / num, np.arange(num) / num

    expected_until = np.interp(ordered, values, levels, left=0.0, right=1.0)
    expected_before = np.where(ordered <= values[0], 0.0, expected_until)  # the least may hold a share of its own
    above = share_until - expected_until
    below = expected_before - share_before
    return float(max(above.max(), below.max()))


def kolmogorov(distance: float, first: int, second: int) -> float:
    """Return the p-value of a distance between samples of two sizes (Smirnov 1948, Ann. Math. Statist. 19:279).

    Example:
        >>> round(kolmogorov(0.1, 400, 400), 4)
        0.0366
    """
    scaled = distance * np.sqrt(first * second / (first + second))
    if scaled < 0.2:  # 1 - 5e-13; the series below converges slowly there
        return 1.0
    terms = np.arange(1, 101)
    signs = (-1.0) ** (terms - 1)
    series = np.sum(signs * np.exp(-2.0 * terms**2 * scaled**2))
    return float(np.clip(2.0 * series, 0.0, 1.0))


def _bins(reference: Reference) -> tuple[Floats, Floats]:
    """Return the inner edges of the bins, and the share that the reference has in each."""
    values, levels = reference.curve
    inner = (levels > 0.0) & (levels < 1.0)
    return values[inner], np.diff(levels[inner], prepend=0.0, append=1.0)
