"""The order of training: prompts that share their responses meet in one step."""

from collections.abc import Iterator, Sequence

import numpy as np

from models.batches import TokenGroup

Pairs = Sequence[tuple[int, ...]]


def pair_up(groups: Sequence[TokenGroup]) -> Pairs:
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
