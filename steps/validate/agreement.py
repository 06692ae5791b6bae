"""Do annotators agree, with each other and with themselves?"""

from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
import numpy.typing as npt

from rewardlab.groups import PreferenceGroup

Matrix = npt.NDArray[np.float64]

NUM_VERDICTS = 3
"""The first of two responses, the second, or a tie."""


def coincidences(units: Iterable[Sequence[int]], num_values: int) -> Matrix:
    """Return how often each pair of values stands in one unit, weighted by 1 / (ratings of the unit - 1).

    A unit is what several raters rated; those with fewer than two ratings do not count (Krippendorff 2011, "Computing
    Krippendorff's Alpha-Reliability", section C, step 2).
    """
    found = np.zeros((num_values, num_values))
    for unit in units:
        if len(unit) > 1:
            counts = np.bincount(unit, minlength=num_values).astype(float)
            found += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return found


def alpha(found: Matrix) -> float | None:
    """Return Krippendorff's alpha for nominal values: 1 is agreement, 0 what chance gives; None where nothing varies.

    alpha = 1 - (n - 1) * sum of o_ck over c != k / sum of n_c n_k over c != k (Krippendorff 2011, section C, step 4).
    """
    margins = found.sum(axis=1)
    total = margins.sum()
    expected = total**2 - (margins**2).sum()
    if not expected > 0:
        return None
    return float(1.0 - (total - 1.0) * (total - np.trace(found)) / expected)


def verdicts(group: PreferenceGroup) -> list[list[int]]:
    """Return the votes on each pair of responses and aspect, as 0 for the first, 1 for the second, 2 for a tie."""
    units: dict[tuple[int, int, str | None], list[int]] = {}
    for vote in group.votes:
        first, second = sorted((vote.better, vote.worse))
        verdict = 2 if vote.strength == 0.5 else int(vote.better != first)
        units.setdefault((first, second, vote.aspect), []).append(verdict)
    return list(units.values())


def turncoats(group: PreferenceGroup) -> int:
    """Return how many annotators prefer each of two responses to the other at once."""
    sides = {
        (vote.annotator, vote.aspect, vote.better, vote.worse)
        for vote in group.votes
        if vote.annotator is not None and vote.strength > 0.5
    }
    return len({name for name, aspect, better, worse in sides if (name, aspect, worse, better) in sides})


def has_cycle(group: PreferenceGroup) -> bool:
    """Say whether the decided comparisons of one aspect go round in a circle, as in a over b over c over a."""
    order: TopologicalSorter[tuple[str | None, int]] = TopologicalSorter()
    for entry in group.comparisons:
        if entry.strength > 0.5:
            order.add((entry.aspect, entry.better), (entry.aspect, entry.worse))
    try:
        order.prepare()
    except CycleError:
        return True
    return False
