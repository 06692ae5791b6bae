"""Right-padded batches of whole preference groups, cut by a budget of tokens.

Shapes: B sequences (the responses of all groups), T tokens, C comparisons, R = B rewards.
"""
# ruff: noqa: N815

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.targets import Labels, OnDevice, Targets, make_targets


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenGroup(Labels):
    """A preference group as int32 token ids: its prompt, each response, and what is known about their rewards.

    Its own labels are of the combined reward, `aspects` holds those of each aspect. `weight` is what it counts in the
    loss. `reworded` names responses that say what another says, and which.
    """

    id: str
    prompt: NDArray[np.int32]
    responses: tuple[NDArray[np.int32], ...]
    aspects: tuple[Labels, ...] = ()
    weight: float = 1.0
    reworded: Mapping[int, int] = field(default_factory=dict)

    @property
    def sequences(self) -> list[NDArray[np.int32]]:
        """Return what is read for each response: the prompt and the response."""
        return [np.concatenate([self.prompt, response]) for response in self.responses]

    @property
    def longest(self) -> int:
        """Return the number of tokens of the longest sequence."""
        return len(self.prompt) + max(map(len, self.responses))

    @property
    def num_tokens(self) -> int:
        """Return the tokens of the tree, the prompt counted once."""
        return len(self.prompt) + sum(map(len, self.responses))


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch(OnDevice):
    """Right-padded sequences of whole groups and what is known about their rewards."""

    ids_BT: Tensor
    lengths_B: Tensor
    targets: Targets
    group_ids: tuple[str, ...]

    @property
    def num_tokens(self) -> int:
        """Return the tokens that count, padding left out."""
        return int(self.lengths_B.sum())


def collate(groups: Sequence[TokenGroup], *, pad_id: int) -> Batch:
    """Pad groups on the right into one batch; row order is group by group, response by response."""
    sequences = [sequence for group in groups for sequence in group.sequences]
    lengths_B = torch.tensor([len(sequence) for sequence in sequences])
    ids_BT = torch.full((len(sequences), int(lengths_B.max())), pad_id)
    for row_T, sequence in zip(ids_BT, sequences, strict=True):
        row_T[: len(sequence)] = torch.as_tensor(sequence)
    return Batch(
        ids_BT=ids_BT,
        lengths_B=lengths_B,
        targets=make_targets(groups),
        group_ids=tuple(group.id for group in groups),
    )


def length_sorted_batches(groups: Sequence[TokenGroup], *, budget: int, pad_id: int) -> list[Batch]:
    """Return the groups, sorted by length, in batches of at most `budget` padded tokens.

    Raises:
        ValueError: one group alone exceeds the budget.
    """
    cuts = cut_batches(groups, budget=budget)
    return [collate([groups[index] for index in cut], pad_id=pad_id) for cut in cuts]


def cut_batches(groups: Sequence[TokenGroup], *, budget: int) -> list[tuple[int, ...]]:
    """Cut the indices of groups, sorted by length, into batches of at most `budget` padded tokens.

    Raises:
        ValueError: one group alone exceeds the budget.
    """
    batches: list[tuple[int, ...]] = []
    current: list[int] = []
    rows = longest = 0
    for index in sorted(range(len(groups)), key=lambda index: groups[index].longest):
        group = groups[index]
        if len(group.responses) * group.longest > budget:
            raise ValueError(
                f"group {group.id!r} has {len(group.responses)} responses of up to {group.longest} tokens, the budget "
                f"is {budget} tokens: raise it or lower the limits of the read-out"
            )
        if current and (rows + len(group.responses)) * max(longest, group.longest) > budget:
            batches.append(tuple(current))
            current, rows, longest = [], 0, 0
        current.append(index)
        rows, longest = rows + len(group.responses), max(longest, group.longest)
    return [*batches, tuple(current)] if current else batches
