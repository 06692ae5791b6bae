"""How far the order of the rewards is the order that ratings or people give."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import prompt_clusters, share
from rewardlab.reports import BestOfN, Correlation, Rankings
from steps.common.scores import Rewards
from steps.common.statistics import borda_points, kendall, mean_within, pearson, spearman

CORRELATIONS: Mapping[str, Callable[[Sequence[float], Sequence[float]], float | None]] = {
    "spearman": spearman,
    "pearson": pearson,
    "kendall": kendall,
}


def rating_agreement(groups: Sequence[PreferenceGroup], rewards: Rewards, aspect: str) -> dict[str, Correlation | None]:
    """Return each correlation of rewards and ratings over all rated responses; None where there is none."""
    rated = [
        (given, group.scores[aspect]) for group, given in zip(groups, rewards, strict=True) if aspect in group.scores
    ]
    flat = [reward for given, _ in rated for reward in given]
    ratings = [rating for _, each in rated for rating in each]
    found = {name: correlation(flat, ratings) for name, correlation in CORRELATIONS.items()}
    return {
        name: None if value is None else Correlation(value=value, aspect=aspect, num=len(flat))
        for name, value in found.items()
    }


def ranking_agreement(groups: Sequence[PreferenceGroup], rewards: Rewards) -> Rankings | None:
    """Return each correlation of rewards and Borda points within a group, averaged over the groups; None without any.

    Only groups of three or more responses count whose every pair was compared.
    """
    ranked = [
        (group, given, points)
        for group, given in zip(groups, rewards, strict=True)
        if len(group.responses) > 2 and (points := borda(group)) is not None
    ]
    if not ranked:
        return None
    return Rankings(
        **{
            name: mean_within(
                (correlation(given, points) for _, given, points in ranked), [group for group, _, _ in ranked]
            )
            for name, correlation in CORRELATIONS.items()
        }
    )


def best_of_n(groups: Sequence[PreferenceGroup], rewards: Rewards, aspect: str) -> BestOfN | None:
    """Return how often the response with the highest reward is the best one, in groups of three or more.

    The best are those that the ratings of the aspect put first, or else the Borda points; several may be. Responses
    that tie for the highest reward share the one choice. `chance` is what a random choice gets.
    """
    outcomes, chances, kept = [], [], []
    for group, given, cluster in zip(groups, rewards, prompt_clusters(groups), strict=True):
        truth = group.scores.get(aspect) or borda(group)
        if len(group.responses) < 3 or truth is None:
            continue
        best = np.asarray(truth) == max(truth)
        outcomes.append(float(best[np.asarray(given) == max(given)].mean()))
        chances.append(float(best.mean()))
        kept.append(cluster)
    found = share(np.array(outcomes), np.array(kept))
    return BestOfN.extending(found, chance=float(np.mean(chances))) if found else None


def borda(group: PreferenceGroup) -> list[float] | None:
    """Return each response's points, its probability of winning summed over all others; None if a pair is missing."""
    compared = {frozenset((entry.better, entry.worse)) for entry in group.comparisons}
    if any(frozenset(pair) not in compared for pair in combinations(range(len(group.responses)), 2)):
        return None
    return borda_points(group)
