"""Statistics that several steps report."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import Difference, PairTable, cluster_bootstrap, negative_log_likelihood, prompt_clusters
from rewardlab.reports import McNemar

Floats = npt.NDArray[np.float64]
Rewards = Sequence[Sequence[float]]
Value = TypeVar("Value")


def seeded_sample(values: Sequence[Value], num: int, *, seed: int = 0) -> list[Value]:
    """Return `num` of the values, drawn without replacement, in their order; all of them where there are fewer."""
    if len(values) <= num:
        return list(values)
    places = np.random.default_rng(seed).choice(len(values), num, replace=False)
    return [values[at] for at in sorted(places.tolist())]


def wins(first: Floats, second: Floats | float) -> Floats:
    """Return 1 where the first is the greater one, 1/2 where both are equal, else 0."""
    return np.where(first > second, 1.0, np.where(first == second, 0.5, 0.0))


def borda_points(group: PreferenceGroup) -> list[float]:
    """Return each response's points, its probability of winning summed over its comparisons.

    A tie gives half a point to both (de Borda 1781; Young 1974, J. Econ. Theory 9:43).
    """
    points = [0.0] * len(group.responses)
    for entry in group.comparisons:
        points[entry.better] += entry.strength
        points[entry.worse] += 1.0 - entry.strength
    return points


def fit_temperature(pairs: PairTable) -> float:
    """Return the temperature that minimises the labels' cross-entropy (Guo et al. 2017, section 4.2).

    It is looked for within 1e-3 to 1e3 times the spread of the margins.

    Raises:
        ValueError: there is no comparison, or all rewards are equal.
    """
    from scipy.optimize import minimize_scalar

    margins = pairs.better - pairs.worse
    spread = float(np.sqrt(np.mean(margins**2))) if len(margins) else 0.0
    if not spread > 0:
        raise ValueError(
            f"a temperature needs comparisons with different rewards, got {len(margins)} of spread {spread}"
        )
    found = minimize_scalar(
        lambda log: negative_log_likelihood(pairs, spread * float(np.exp(log))),
        bounds=(np.log(1e-3), np.log(1e3)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return spread * float(np.exp(found.x))


def pearson(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> float | None:
    """Return Pearson's correlation; None when a side is constant or has fewer than two values."""
    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))


def spearman(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> float | None:
    """Return Spearman's rank correlation; None when a side is constant or has fewer than two values."""
    from scipy.stats import rankdata

    return pearson(rankdata(first), rankdata(second))


def kendall(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> float | None:
    """Return Kendall's tau-b, which allows for ties; None when a side is constant or has fewer than two values."""
    from scipy.stats import kendalltau

    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(kendalltau(first, second).statistic)


def mean_within(
    values: Iterable[float | None], groups: Sequence[PreferenceGroup], *, seed: int = 0
) -> Difference | None:
    """Return the mean of a correlation in each group, bootstrapped by prompt; groups without one do not count."""
    known = [(value, at) for value, at in zip(values, prompt_clusters(groups), strict=True) if value is not None]
    if not known:
        return None
    found, clusters = np.array([value for value, _ in known]), np.array([at for _, at in known])
    low, high = cluster_bootstrap(found, clusters, seed=seed)
    return Difference(value=float(found.mean()), low=low, high=high, num=len(known))


def length_correlation(groups: Sequence[PreferenceGroup], rewards: Rewards) -> Difference | None:
    """Return the mean over groups of Spearman's correlation of reward and response length in characters."""
    pairs = zip(groups, rewards, strict=True)
    return mean_within((spearman(given, [len(text) for text in group.responses]) for group, given in pairs), groups)


def by_group(values: npt.NDArray[np.floating[Any]], groups: Sequence[PreferenceGroup]) -> list[list[float]]:
    """Return the values of each group's responses, of values for all responses one after another."""
    ends = np.cumsum([len(group.responses) for group in groups])
    return [piece.tolist() for piece in np.split(values, ends[:-1])]


def by_subset(groups: Sequence[PreferenceGroup], rewards: Rewards) -> dict[str, list[float]]:
    """Return the rewards of each subset's responses."""
    found: dict[str, list[float]] = {}
    for group, given in zip(groups, rewards, strict=True):
        found.setdefault(group.subset, []).extend(given)
    return dict(sorted(found.items()))


def paired_difference(candidate: PairTable, champion: PairTable, *, seed: int = 0) -> Difference | None:
    """Return the candidate's accuracy minus the champion's on the same comparisons, bootstrapped by prompt."""
    if not np.array_equal(candidate.strength, champion.strength):
        raise ValueError("candidate and champion were not scored on the same comparisons")
    difference = candidate.decided.wins - champion.decided.wins
    if not len(difference):
        return None
    low, high = cluster_bootstrap(difference, candidate.decided.cluster, seed=seed)
    return Difference(value=float(difference.mean()), low=low, high=high, num=len(difference))


def mcnemar(candidate: PairTable, champion: PairTable) -> McNemar | None:
    """Return on how many comparisons one side alone is right, and the exact two-sided p-value for "as often".

    A tie of rewards lies between right and wrong. The test is McNemar's (1947, Psychometrika 12:153) in its exact form,
    which takes comparisons for independent: where a prompt has several, the interval of `paired_difference` is the
    wider and the safer one. None when no comparison is decided.
    """
    from scipy.stats import binomtest

    difference = candidate.decided.wins - champion.decided.wins
    if not len(difference):
        return None
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    p_value = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return McNemar(better=better, worse=worse, p_value=p_value)


def chance_p_value(pairs: PairTable) -> float | None:
    """Return the one-sided p-value for "accuracy is 1/2", by flipping the sign of whole prompts' results.

    Each prompt's mean outcome less 1/2 is as likely to be negative under chance (Fisher 1935, section 21); 9,999
    random flips, so that the least value is 1e-4. None when no comparison is decided.
    """
    from scipy.stats import permutation_test

    decided = pairs.decided
    if not len(decided.better):
        return None
    _, index = np.unique(decided.cluster, return_inverse=True)
    excess = np.bincount(index, weights=decided.wins - 0.5) / np.bincount(index)
    if len(excess) < 2:
        return 1.0
    found = permutation_test(
        (excess,), np.mean, permutation_type="samples", alternative="greater", vectorized=True, rng=0
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values corrected for their number (Holm 1979); those that are None stay so and do not count."""
    from statsmodels.stats.multitest import multipletests

    known = [value for value in p_values if value is not None]
    corrected = iter(multipletests(known, method="holm")[1].tolist() if known else ())
    return [None if value is None else next(corrected) for value in p_values]
