"""The groups of a token store that training takes, read from the disk as they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from models.batches import TokenGroup
from models.config import NEEDS, Loss
from models.rankings import choices
from models.targets import Labels
from rewardlab.groups import Comparison
from steps.common.tokenstore import StoredGroup, TokenStore
from steps.train.config import TrainConfig
from steps.train.length import Labelled, LengthBias, fit_length_bias
from steps.train.order import Pairs, pair_up


class GroupSequence(Sequence[TokenGroup], ABC):
    """Groups that are made when they are asked for, and not held."""

    @abstractmethod
    def group(self, index: int) -> TokenGroup:
        """Return one group."""

    def __getitem__(self, index: int | slice) -> Any:
        """Return a group, or the list of a slice's."""
        if isinstance(index, slice):
            return [self.group(at) for at in range(*index.indices(len(self)))]
        return self.group(index)


class StoredGroups(GroupSequence):
    """The groups of a store that carry what a loss learns from; ids stay on disk until they are read."""

    def __init__(
        self, folder: Path, config: TrainConfig, *, limit: int = 0, length_bias: LengthBias | None = None
    ) -> None:
        """Open a store; a limit of 0 takes all its groups, and a length bias that is asked for and not given is fitted.

        Raises:
            ValueError: the store was made for other aspects, or no group carries what a loss learns from.
        """
        self._store = TokenStore(folder)
        self._aspects, self._losses = config.model.aspects, config.objective.losses
        if self._aspects and self._aspects != self._store.aspects:
            raise ValueError(f"the tokens are of the aspects {self._store.aspects}, the model's are {self._aspects}")
        stored = (self._store[index] for index in range(len(self._store)))
        fits_GO = np.array([self._fits(each) for each in stored]).reshape(len(self._store), len(self._losses))
        self._kept = np.flatnonzero(fits_GO.any(axis=1))[: limit or None]
        taught = [bool(fits_G.any()) for fits_G in fits_GO[self._kept].T]
        for name, loss, any_ in zip(("", *self._aspects), self._losses, taught, strict=True):
            if not any_ and (name or not self._aspects):  # the combined reward may learn from its aspects alone
                wanted = f"{NEEDS[loss]} of {name!r}" if name else NEEDS[loss]
                raise ValueError(
                    f"the {folder.name} split holds no group with {wanted}, which {loss} needs: give more data"
                )

        self.length_bias = None if config.debias == "none" else length_bias or fit_length_bias(self._lengths())

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._kept)

    def group(self, index: int) -> TokenGroup:
        """Return one group with the labels that each output learns from."""
        stored = self._store[int(self._kept[index])]
        size = len(stored.responses)
        own, *aspects = (
            self._offset(stored, _labels(size, comparisons, scores, loss))
            for (comparisons, scores), loss in zip(self._known(stored), self._losses, strict=True)
        )
        return TokenGroup(
            id=stored.id,
            prompt=stored.prompt,
            responses=stored.responses,
            comparisons=own.comparisons,
            offsets=own.offsets,
            scores=own.scores,
            choices=own.choices,
            aspects=tuple(aspects),
            weight=stored.weight,
            reworded={size - 1: stored.original} if stored.original >= 0 else {},
        )

    def _lengths(self) -> Iterator[Labelled]:
        for index in self._kept:
            stored = self._store[int(index)]
            if stored.comparisons:
                yield [len(response) for response in stored.responses], stored.comparisons

    def _fits(self, stored: StoredGroup) -> list[bool]:
        """Return for each output whether the group carries what its loss learns from."""
        known = (
            {"comparisons": bool(comparisons), "scores": scores is not None}
            for comparisons, scores in self._known(stored)
        )
        return [
            any(each[need] for need in NEEDS[loss].split(" or "))
            for each, loss in zip(known, self._losses, strict=True)
        ]

    def _known(self, stored: StoredGroup) -> list[tuple[tuple[Comparison, ...], tuple[float, ...] | None]]:
        """Return the comparisons and scores of the one head, or of the combined reward and of each aspect."""
        if not self._aspects:
            return [(stored.comparisons, next(iter(stored.scores.values()), None))]
        return [
            (tuple(each for each in stored.comparisons if each.aspect == name), stored.scores.get(name or ""))
            for name in (None, *self._aspects)
        ]

    def _offset(self, stored: StoredGroup, labels: Labels) -> Labels:
        if self.length_bias is None or not labels.comparisons:
            return labels
        lengths = [len(response) for response in stored.responses]
        return replace(labels, offsets=self.length_bias.offsets(lengths, labels.comparisons))


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What is trained and validated on; `pad_id` fills sequences where trees cannot be packed.

    `pairs` says which of the training groups meet in one step, `length_bias` what length alone says of the labels.
    """

    train: Sequence[TokenGroup]
    validation: Sequence[TokenGroup]
    pairs: Pairs
    pad_id: int
    length_bias: LengthBias | None = None


def open_data(tokens: Path, config: TrainConfig, *, pad_id: int) -> Data:
    """Return the groups of the token stores in a folder.

    Raises:
        ValueError: there is nothing to train or validate on.
    """
    train = StoredGroups(tokens / "train", config, limit=config.max_groups)
    validation = StoredGroups(tokens / "validation", config, length_bias=train.length_bias)
    validated = (labels for group in validation for labels in (group, *group.aspects))
    if not any(entry.strength > 0.5 for labels in validated for entry in labels.comparisons):
        raise ValueError("the validation split holds nothing but ties, so no checkpoint is the best: give more data")
    if config.consistency and not any(group.reworded for group in train):
        raise ValueError("consistency needs responses that are reworded, and there are none: set tokenize.rewordings")
    pairs = pair_up(train)
    return Data(train=train, validation=validation, pairs=pairs, pad_id=pad_id, length_bias=train.length_bias)


def _labels(size: int, comparisons: tuple[Comparison, ...], scores: tuple[float, ...] | None, loss: Loss) -> Labels:
    """Return what a loss learns from; validation counts comparisons, so scores stand in where there are none."""
    return Labels(
        comparisons=comparisons or (() if NEEDS[loss] == "comparisons" else _ordered(scores or ())),
        scores=scores,
        choices=choices(size, comparisons, scores) if loss == "plackett_luce" else (),
    )


def _ordered(scores: Sequence[float]) -> tuple[Comparison, ...]:
    """Return a comparison for every pair of different scores."""
    pairs = permutations(range(len(scores)), 2)
    return tuple(Comparison(better=one, worse=other) for one, other in pairs if scores[one] > scores[other])
