"""Over-optimisation: what best-of-n under a reward gains in that reward, and what in the truth.

Sources: Gao, Schulman & Hilton 2023, "Scaling Laws for Reward Model Overoptimization", sections 2 and 3; the estimator
is Nakano et al. 2021 (WebGPT), appendix I.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rewardlab.metrics import Interval
from rewardlab.reports import CurveFit, CurvePoint, Overoptimization, Peak, ProxyAndGold

Floats = npt.NDArray[np.float64]
Values = Sequence[Sequence[float]]

MAX_N = 256
_REPEATS = 2000


@dataclass(frozen=True, slots=True)
class Curves:
    """Rows of prompts, columns of n = 1, 2, ...: the expected proxy and gold of the best of n by the proxy."""

    proxy: Floats
    gold: Floats


def best_of(proxy: Sequence[float], gold: Sequence[float], num: int) -> tuple[Floats, Floats]:
    """Return the expected proxy and gold rating of the response with the highest proxy among n, for n = 1 to `num`.

    The n are drawn from the pool without replacement, so of N responses in order of the proxy the i-th is the best with
    probability C(i - 1, n - 1) / C(N, n): the mean over all subsets, which is unbiased. Of responses with equal proxy
    each is as likely to be taken.

    Example:
        >>> best_of([0.0, 1.0], [5.0, 3.0], 2)[1].tolist()
        [4.0, 3.0]
    """
    given = np.asarray(proxy, dtype=np.float64)
    values, where, counts = np.unique(given, return_inverse=True, return_counts=True)
    means = np.bincount(where, weights=np.asarray(gold, dtype=np.float64)) / counts
    order = np.sort(where)
    weights = _weights(len(given), num)
    return weights @ values[order], weights @ means[order]


def curves(proxy: Values, gold: Values) -> Curves:
    """Return the curves of pools of responses, as far as the smallest pool, or 256, allows.

    Raises:
        ValueError: there is no pool, or a pool holds one response alone.
    """
    num = min((len(pool) for pool in proxy), default=0)
    if num < 2:
        raise ValueError(f"best-of-n needs pools of two responses or more, the smallest holds {num}")
    found = [best_of(given, truth, min(num, MAX_N)) for given, truth in zip(proxy, gold, strict=True)]
    return Curves(np.array([row for row, _ in found]), np.array([row for _, row in found]))


def divergence(num: int) -> Floats:
    """Return KL(best-of-n || policy) = log n - (n - 1) / n in nats, for n = 1 to `num` (Stiennon et al. 2020, G.3).

    Example:
        >>> divergence(2).round(4).tolist()
        [0.0, 0.1931]
    """
    n = np.arange(1, num + 1)
    return np.log(n) - (n - 1) / n


def fit(gain: Floats) -> tuple[float, float]:
    """Return alpha and beta of gain = d (alpha - beta d), d = sqrt(KL), by least squares (Gao et al. 2023, section 3).

    The points are those n that are evenly spaced in log n, four to each doubling at most, so that large n, of which
    there are many, do not decide alone.
    """
    at = spaced(len(gain)) - 1
    d = np.sqrt(divergence(len(gain)))[at]
    (alpha, minus_beta), *_ = np.linalg.lstsq(np.stack([d, d**2], axis=1), gain[at], rcond=None)
    return float(alpha), float(-minus_beta)


def spaced(num: int) -> npt.NDArray[np.int64]:
    """Return whole numbers from 1 to `num`, about four to each doubling.

    Example:
        >>> spaced(16).tolist()
        [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16]
    """
    steps = int(np.ceil(4 * np.log2(num))) if num > 1 else 0
    return np.unique(np.round(np.geomspace(1, num, steps + 1))).astype(np.int64)


def overoptimization(found: Curves, clusters: Sequence[int], *, seed: int = 0) -> Overoptimization:
    """Return the mean curves, the fit, and where gold peaks, with 95 % intervals from a bootstrap of whole prompts.

    Args:
        found: a row for each group.
        clusters: a number for each group, the same for groups of one prompt.
        seed: draws the bootstrap.
    """
    counts = _drawn(np.unique(clusters, return_inverse=True)[1], seed)
    proxy, gold = (_measured(each, counts) for each in (found.proxy, found.gold))
    means, drawn = gold
    num = found.gold.shape[1]
    peaks = 1 + drawn.argmax(axis=1)
    fits = np.array([fit(row - row[0]) for row in drawn])
    alpha, beta = fit(means - means[0])
    peak = 1 + int(means.argmax())
    return Overoptimization(
        num_groups=len(found.gold),
        num_prompts=len(np.unique(clusters)),
        max_n=num,
        curve=_points(divergence(num), proxy, gold),
        fit=CurveFit(
            alpha=_interval(alpha, fits[:, 0]),
            beta=_interval(beta, fits[:, 1]),
            r_squared=_r_squared(means - means[0], alpha, beta),
            peak_kl=(alpha / (2 * beta)) ** 2 if alpha > 0 and beta > 0 else None,
        ),
        peak=Peak.extending(_interval(peak, peaks), kl=float(divergence(num)[peak - 1]), is_inside=peak < num),
        lost_behind_peak=_interval(means[peak - 1] - means[-1], drawn[:, peak - 1] - drawn[:, -1]),
        gained=_interval(means[-1] - means[0], drawn[:, -1] - drawn[:, 0]),
    )


def _weights(size: int, num: int) -> Floats:
    """Return P(the i-th smallest of `size` is the largest of n), a row for each n, a column for each i."""
    from scipy.special import gammaln

    n, i = np.arange(1, num + 1)[:, None], np.arange(1, size + 1)[None]

    def log_choose(top: Any, bottom: Any) -> Any:
        return gammaln(top + 1) - gammaln(bottom + 1) - gammaln(np.maximum(top - bottom, 0) + 1)

    logs = log_choose(i - 1, n - 1) - log_choose(size, n)
    weights = np.where(i >= n, np.exp(logs), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _drawn(index: npt.NDArray[np.int64], seed: int) -> Floats:
    """Return how often each group is drawn in each repeat, when whole clusters are (Davison & Hinkley 1997, 2.4)."""
    num = int(index.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(num, np.full(num, 1.0 / num), _REPEATS)
    return np.asarray(drawn[:, index], dtype=np.float64)


def _measured(values: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Return the mean over groups, and that of each repeat."""
    return values.mean(axis=0), counts @ values / counts.sum(axis=1, keepdims=True)


def _points(kl: Floats, proxy: tuple[Floats, Floats], gold: tuple[Floats, Floats]) -> tuple[CurvePoint, ...]:
    """Return a point for each n: levels, and what they are above those of n = 1, which prompts differ less in."""
    return tuple(
        CurvePoint(
            n=int(n),
            kl=float(kl[n - 1]),
            proxy=_level(proxy, n),
            gold=_level(gold, n),
            gain=ProxyAndGold(proxy=_gain(proxy, n), gold=_gain(gold, n)),
        )
        for n in spaced(len(kl))
    )


def _level(curve: tuple[Floats, Floats], n: int) -> Interval:
    means, drawn = curve
    return _interval(means[n - 1], drawn[:, n - 1])


def _gain(curve: tuple[Floats, Floats], n: int) -> Interval:
    means, drawn = curve
    return _interval(means[n - 1] - means[0], drawn[:, n - 1] - drawn[:, 0])


def _interval(value: float, drawn: npt.NDArray[Any]) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=float(value), low=float(low), high=float(high))


def _r_squared(gain: Floats, alpha: float, beta: float) -> float | None:
    at = spaced(len(gain)) - 1
    d = np.sqrt(divergence(len(gain)))[at]
    spread = float(((gain[at] - gain[at].mean()) ** 2).sum())
    return 1.0 - float(((gain[at] - d * (alpha - beta * d)) ** 2).sum()) / spread if spread > 0 else None
