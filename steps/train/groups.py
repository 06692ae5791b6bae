"""The groups of a token store that training takes, read from the disk as they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import overload

import numpy as np

from models.batches import TokenGroup
from models.config import COMPARED, Loss
from rewardlab.groups import Comparison
from rewardlab.tokenstore import StoredGroup, TokenStore


class StoredGroups(Sequence[TokenGroup]):
    """The groups of a store that carry what the loss learns from; ids stay on disk until they are read."""

    def __init__(self, folder: Path, loss: Loss, *, limit: int = 0) -> None:
        """Open a store; a limit of 0 takes all its groups.

        Raises:
            ValueError: no group carries what the loss learns from.
        """
        self._store = TokenStore(folder)
        stored = (self._store[index] for index in range(len(self._store)))
        fits = (bool(each.comparisons if loss in COMPARED else each.scores) for each in stored)
        self._kept = np.flatnonzero(np.fromiter(fits, bool, len(self._store)))[: limit or None]
        if not len(self._kept):
            wanted = "comparisons" if loss in COMPARED else "scores"
            raise ValueError(
                f"the {folder.name} split holds no group with {wanted}, which {loss} needs: give more data"
            )

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> TokenGroup: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenGroup]: ...
    def __getitem__(self, index: int | slice) -> TokenGroup | list[TokenGroup]:
        """Return a group, or the list of a slice's."""
        if isinstance(index, slice):
            return [_token_group(self._store[int(at)]) for at in self._kept[index]]
        return _token_group(self._store[int(self._kept[index])])


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What is trained and validated on; `pad_id` fills sequences where trees cannot be packed."""

    train: Sequence[TokenGroup]
    validation: Sequence[TokenGroup]
    pad_id: int


def _token_group(stored: StoredGroup) -> TokenGroup:
    """Return the group; validation counts comparisons, so scores stand in where there are none."""
    return TokenGroup(
        id=stored.id,
        prompt=stored.prompt,
        responses=stored.responses,
        comparisons=stored.comparisons or _ordered(stored.scores or ()),
        scores=stored.scores,
    )


def _ordered(scores: Sequence[float]) -> tuple[Comparison, ...]:
    """Return a comparison for every pair of different scores."""
    pairs = permutations(range(len(scores)), 2)
    return tuple(Comparison(better=one, worse=other) for one, other in pairs if scores[one] > scores[other])
