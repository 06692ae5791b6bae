"""Rankings as choices: which response was chosen, and from which."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rewardlab.groups import Comparison


def choices(
    size: int, comparisons: Sequence[Comparison], scores: Sequence[float] | None = None
) -> tuple[tuple[int, ...], ...]:
    """Return for each response that is at least as good as another its index, and behind it those it is no worse than.

    Comparisons imply what follows from them: a before b and b before c is a before c. Two responses are tied where they
    are said to be, or where comparisons lead from each to the other; a strength above 1/2 is a win. Where there are no
    comparisons the scores are the ranking, equal ones tied.

    Example:
        >>> choices(3, [Comparison(better=2, worse=0), Comparison(better=0, worse=1)])
        ((0, 1), (2, 0, 1))
        >>> choices(3, [], [1.0, 2.0, 1.0])
        ((0, 2), (1, 0, 2), (2, 0))
    """
    no_worse = _implied(size, comparisons) if comparisons or scores is None else np.greater_equal.outer(scores, scores)
    np.fill_diagonal(no_worse, False)
    rows = ((one, *np.flatnonzero(row).tolist()) for one, row in enumerate(no_worse))
    return tuple(row for row in rows if len(row) > 1)


def _implied(size: int, comparisons: Sequence[Comparison]) -> npt.NDArray[np.bool_]:
    """Return the transitive closure of the comparisons (Warshall 1962)."""
    no_worse = np.zeros((size, size), dtype=np.bool_)
    for entry in comparisons:
        no_worse[entry.better, entry.worse] = True
        no_worse[entry.worse, entry.better] |= entry.strength == 0.5
    for middle in range(size):
        no_worse |= np.logical_and.outer(no_worse[:, middle], no_worse[middle])
    return no_worse
