"""The order of training: prompts that share their responses meet in one step, and processes get equal shares."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.batches import TokenGroup

Pairs = Sequence[tuple[int, ...]]


class Order:
    """Which groups a step takes, the same at each start: a step is the whole cursor into the data."""

    def __init__(self, pairs: Pairs, *, seed: int, groups_per_step: int) -> None:
        self._pairs = pairs
        self._seed, self._size = seed, groups_per_step
        self.steps_per_epoch = -(-sum(map(len, self._pairs)) // groups_per_step)
        self._epoch = -1
        self._shuffled: NDArray[np.int64] = np.empty(0, np.int64)

    def step(self, step: int) -> list[int]:
        """Return the indices of the groups of a step, which are counted from 1; an epoch's last may be smaller."""
        epoch, at = divmod(step - 1, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._shuffled = np.fromiter(shuffled(self._pairs, seed=self._seed, epoch=epoch), np.int64)
        chosen: list[int] = self._shuffled[at * self._size : (at + 1) * self._size].tolist()
        return chosen


def pair_up(groups: Iterable[TokenGroup]) -> Pairs:
    """Return the indices of groups, two by two where they hold the same responses, else one by one.

    Where two prompts rank the same responses in reverse, whatever the model makes of the responses alone cancels in
    the sum of their gradients, and only what it makes of prompt and response together remains.
    """
    pairs: list[tuple[int, ...]] = []
    open_pairs: dict[int, int] = {}
    for index, group in enumerate(groups):
        key = hash(tuple(sorted(response.tobytes() for response in group.responses)))
        if key in open_pairs:
            at = open_pairs.pop(key)
            pairs[at] = (*pairs[at], index)
        else:
            open_pairs[key] = len(pairs)
            pairs.append((index,))
    return pairs


def shuffled(pairs: Pairs, *, seed: int, epoch: int) -> Iterator[int]:
    """Yield the indices of an epoch: pairs in a random order of its own, the two of a pair one after the other."""
    for at in np.random.default_rng((seed, epoch)).permutation(len(pairs)):
        yield from pairs[at]


def divide(sizes: Sequence[int], num_shares: int) -> list[list[int]]:
    """Return indices in shares of about equal total size: the largest first, each to the smallest share so far.

    The largest share is at most 4/3 of the best possible one (Graham 1969, "Bounds on multiprocessing timing
    anomalies", theorem 2). A share may be empty.
    """
    shares: list[list[int]] = [[] for _ in range(num_shares)]
    totals = [0] * num_shares
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        smallest = totals.index(min(totals))
        shares[smallest].append(index)
        totals[smallest] += sizes[index]
    return shares
