"""Token trees side by side in one row without padding: each prompt once, each response behind it.

Shapes: T tokens of the row, B sequences (the responses of all groups), L positions of the longest sequence.
"""
# ruff: noqa: N815

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.batches import TokenGroup
from models.targets import OnDevice, Targets, make_targets


@dataclass(frozen=True, slots=True)
class Tree:
    """Where a group lies in the row: its start, the length of its prompt and of each response."""

    start: int
    prompt: int
    responses: tuple[int, ...]

    @property
    def end(self) -> int:
        """Return where the next group starts."""
        return self.start + self.prompt + sum(self.responses)


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeBatch(OnDevice):
    """A row of trees; `places_BL` says where in the row each position of a sequence is, `lengths_B` how many count."""

    ids_T: Tensor
    positions_T: Tensor
    places_BL: Tensor
    lengths_B: Tensor
    trees: tuple[Tree, ...]
    targets: Targets
    group_ids: tuple[str, ...]

    @property
    def num_tokens(self) -> int:
        """Return the tokens that are computed."""
        return len(self.ids_T)


def lay_out(groups: Sequence[TokenGroup]) -> TreeBatch:
    """Put groups into one row; a response's positions go on from its prompt's end."""
    ids: list[NDArray[np.int32]] = []
    positions, trees, start = [], [], 0
    for group in groups:
        tree = Tree(start, len(group.prompt), tuple(map(len, group.responses)))
        ids += [group.prompt, *group.responses]
        positions += [np.arange(tree.prompt), *(tree.prompt + np.arange(length) for length in tree.responses)]
        trees.append(tree)
        start = tree.end
    places = [place for tree in trees for place in _places(tree)]
    lengths = [len(place) for place in places]
    places_BL = torch.zeros((len(places), max(lengths)), dtype=torch.long)
    for row_L, place in zip(places_BL, places, strict=True):
        row_L[: len(place)] = torch.from_numpy(place)
    return TreeBatch(
        ids_T=torch.from_numpy(np.concatenate(ids).astype(np.int64)),
        positions_T=torch.from_numpy(np.concatenate(positions)),
        places_BL=places_BL,
        lengths_B=torch.tensor(lengths),
        trees=tuple(trees),
        targets=make_targets(groups),
        group_ids=tuple(group.id for group in groups),
    )


def pack(groups: Sequence[TokenGroup], *, budget: int) -> list[TreeBatch]:
    """Fill rows of at most `budget` tokens, the largest group first into the first row with room for it.

    First-fit decreasing needs at most 11/9 of the fewest rows, and 2/3 of a row more (Dosa 2007).

    Raises:
        ValueError: one group alone exceeds the budget.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(groups)), key=lambda index: -groups[index].num_tokens):
        size = groups[index].num_tokens
        if size > budget:
            raise ValueError(
                f"group {groups[index].id!r} is a tree of {size} tokens, the budget is {budget} tokens: raise it or "
                "lower the limits of the read-out"
            )
        at = next((at for at, free in enumerate(room) if free >= size), len(rows))
        if at == len(rows):
            rows.append([])
            room.append(budget)
        rows[at].append(index)
        room[at] -= size
    return [lay_out([groups[index] for index in row]) for row in rows]


def _places(tree: Tree) -> list[NDArray[np.int64]]:
    """Return for each response where in the row its sequence is: the prompt, then the response."""
    prompt = tree.start + np.arange(tree.prompt)
    starts = accumulate(tree.responses[:-1], initial=tree.start + tree.prompt)
    return [
        np.concatenate([prompt, start + np.arange(length)])
        for start, length in zip(starts, tree.responses, strict=True)
    ]
