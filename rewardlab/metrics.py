"""Metrics of rewards against preferences, in numpy."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rewardlab.config import Change, Count, Report, Share, optional
from rewardlab.groups import PreferenceGroup

Floats = npt.NDArray[np.float64]
Z_95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""
_MAX_DRAWN = 2**16
"""Clusters that a bootstrap draws at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(Report):
    """A number; its 95 % interval and what it was counted over may be unknown."""

    value: float | None = optional()
    low: float | None = optional()
    high: float | None = optional()
    num: Count | None = optional()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval(Measure):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate(Interval):
    """A share with its 95 % interval and what it was counted over."""

    value: Share
    num: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Estimate):
    """A difference of two shares with its 95 % interval."""

    value: Change
    low: Change
    high: Change


@dataclass(frozen=True, slots=True)
class PairTable:
    """Comparisons as columns: rewards of the better and worse response, strength, and the prompt each came from."""

    better: Floats
    worse: Floats
    strength: Floats
    cluster: npt.NDArray[np.int64]

    def select(self, keep: npt.NDArray[np.bool_]) -> "PairTable":
        """Return the rows where `keep` is true."""
        return PairTable(self.better[keep], self.worse[keep], self.strength[keep], self.cluster[keep])

    @property
    def decided(self) -> "PairTable":
        """Return the comparisons that are no tie in the labels."""
        return self.select(self.strength > 0.5)

    @property
    def wins(self) -> Floats:
        """Return 1 where the better response has the higher reward, 1/2 on equal rewards, else 0."""
        return np.where(self.better > self.worse, 1.0, np.where(self.better == self.worse, 0.5, 0.0))


def labelled_pairs(groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]]) -> PairTable:
    """Return every comparison of the groups beside the rewards of its two responses.

    Args:
        groups: the labelled groups.
        rewards: one reward per response of each group, in the same order.
    """
    rows = [
        (given[entry.better], given[entry.worse], entry.strength, cluster)
        for group, given, cluster in zip(groups, rewards, prompt_clusters(groups), strict=True)
        for entry in group.comparisons
    ]
    return _table(rows)


def scored_pairs(groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]], aspect: str) -> PairTable:
    """Return every pair of responses whose scores differ, the higher score as the better response."""
    rows = []
    for group, given, cluster in zip(groups, rewards, prompt_clusters(groups), strict=True):
        scores = group.scores.get(aspect, ())
        for first in range(len(scores)):
            for second in range(first + 1, len(scores)):
                if scores[first] != scores[second]:
                    better, worse = (first, second) if scores[first] > scores[second] else (second, first)
                    rows.append((given[better], given[worse], 1.0, cluster))
    return _table(rows)


def prompt_clusters(groups: Sequence[PreferenceGroup]) -> list[int]:
    """Return a number for each group, the same for groups that share a prompt.

    A prompt that over 5 % of the groups (and over 20 of them) share is an instruction to a whole data set, not a
    cluster: its groups count one by one.
    """
    sharing = Counter(group.prompt for group in groups)
    limit = max(20, 0.05 * len(groups))
    numbers: dict[object, int] = {}
    return [
        numbers.setdefault(index if sharing[group.prompt] > limit else group.prompt, len(numbers))
        for index, group in enumerate(groups)
    ]


def accuracy(pairs: PairTable, *, seed: int = 0) -> Estimate | None:
    """Return the share of comparisons whose better response has the higher reward; None when there are none.

    Ties in the labels are excluded, a tie of rewards counts 1/2. The interval is a bootstrap clustered by prompt, or
    Wilson's where every prompt has one comparison.
    """
    return share(pairs.decided.wins, pairs.decided.cluster, seed=seed)


def share(outcomes: Floats, clusters: npt.NDArray[np.int64], *, seed: int = 0) -> Estimate | None:
    """Return the mean of outcomes in [0, 1] with a 95 % interval; None when there are none."""
    if not len(outcomes):
        return None
    value = float(outcomes.mean())
    if len(np.unique(clusters)) == len(clusters):
        low, high = wilson(value, len(outcomes))
    else:
        low, high = cluster_bootstrap(outcomes, clusters, seed=seed)
    return Estimate(value=value, low=low, high=high, num=len(outcomes))


def wilson(value: float, num: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a proportion (Wilson 1927, JASA 22:209).

    Example:
        >>> [round(bound, 4) for bound in wilson(0.5, 100)]
        [0.4038, 0.5962]
    """
    spread = Z_95**2 / num
    centre = (value + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * np.sqrt(value * (1 - value) / num + spread / (4 * num))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def cluster_bootstrap(
    outcomes: Floats, clusters: npt.NDArray[np.int64], *, seed: int = 0, repeats: int = 2000
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a mean when whole clusters are drawn (Davison & Hinkley 1997, 2.4)."""
    _, index = np.unique(clusters, return_inverse=True)
    totals, sizes = np.bincount(index, weights=outcomes), np.bincount(index)
    generator = np.random.default_rng(seed)
    at_once = max(1, _MAX_DRAWN // len(sizes))  # it bounds the memory, and changes no draw
    means = np.empty(repeats)
    for first in range(0, repeats, at_once):
        drawn = generator.integers(0, len(sizes), (min(at_once, repeats - first), len(sizes)))
        means[first : first + at_once] = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def win_probability(pairs: PairTable, temperature: float) -> Floats:
    """Return P(better wins) = sigmoid((r_better - r_worse) / temperature) (Bradley & Terry 1952)."""
    return 0.5 * (1.0 + np.tanh((pairs.better - pairs.worse) / (2.0 * temperature)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin(Report):
    """The comparisons whose predicted probability lies between `low` and `high`: what was predicted, and observed."""

    low: Share
    high: Share
    predicted: float
    observed: float
    num: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Expected calibration error with its bins, Brier score and mean negative log-likelihood."""

    ece: float
    brier: float
    nll: float
    num: int
    bins: tuple[Bin, ...]


def reliability(pairs: PairTable, temperature: float, *, num_bins: int = 15) -> Reliability | None:
    """Measure calibration of P(the preferred response wins) over equal-width bins (Guo et al. 2017, eq. 3).

    Each comparison is looked at from the side the model favours: predicted is that side's probability in [0.5, 1],
    observed is the strength the labels give it. Comparisons with equal rewards stay in, at 0.5.
    """
    if not len(pairs.better):
        return None
    forward = win_probability(pairs, temperature)
    observed = np.where(forward >= 0.5, pairs.strength, 1.0 - pairs.strength)
    predicted = np.maximum(forward, 1.0 - forward)
    edges = np.linspace(0.5, 1.0, num_bins + 1)
    index = np.clip(np.digitize(predicted, edges[1:-1]), 0, num_bins - 1)
    bins = tuple(
        Bin(
            low=float(edges[bin_]),
            high=float(edges[bin_ + 1]),
            predicted=float(predicted[index == bin_].mean()),
            observed=float(observed[index == bin_].mean()),
            num=int((index == bin_).sum()),
        )
        for bin_ in range(num_bins)
        if (index == bin_).any()
    )
    gap = sum(bin_.num * abs(bin_.predicted - bin_.observed) for bin_ in bins) / len(predicted)
    return Reliability(
        ece=float(gap),
        brier=float(np.mean((forward - pairs.strength) ** 2)),
        nll=negative_log_likelihood(pairs, temperature),
        num=len(predicted),
        bins=bins,
    )


def negative_log_likelihood(pairs: PairTable, temperature: float) -> float:
    """Return the mean cross-entropy of the labels' strengths under the win probabilities, in nats."""
    margin = (pairs.better - pairs.worse) / temperature
    return float(np.mean(pairs.strength * np.logaddexp(0, -margin) + (1 - pairs.strength) * np.logaddexp(0, margin)))


def _table(rows: Sequence[tuple[float, float, float, int]]) -> PairTable:
    columns = np.asarray(rows, dtype=np.float64).reshape(-1, 4)
    return PairTable(columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3].astype(np.int64))
