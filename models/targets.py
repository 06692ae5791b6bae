"""What is known about the rewards of a batch, as flat tensors over all groups and outputs.

Shapes: R rewards of all responses and outputs, C comparisons, P places in the choices of rankings, W responses that
reword another one. An output is the combined reward or that of an aspect, in this order. R runs output by output, group
by group, response by response, as the rewards of a `RewardModel` flatten.
"""
# ruff: noqa: N815

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from rewardlab.groups import Comparison

if TYPE_CHECKING:
    from models.batches import TokenGroup


@dataclass(frozen=True, kw_only=True, slots=True)
class OnDevice:
    """Tensors that are on one device."""

    def to(self, device: torch.device | str) -> Self:
        """Return the same on another device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device) for name, value in values.items() if isinstance(value, (Tensor, OnDevice))}
        return replace(self, **moved)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What is known about one output's rewards of a group's responses.

    A choice is the index of a response, and behind it those it was chosen from; see `models.rankings`. `offsets` has,
    in logits, what a model of the labels' bias says of each comparison; where there is none, nothing is said.
    """

    comparisons: tuple[Comparison, ...] = ()
    offsets: tuple[float, ...] = ()
    scores: tuple[float, ...] | None = None
    choices: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets(OnDevice):
    """What is known about a flat vector of rewards.

    Indices point into that vector. `margin_C` and `score_R` are NaN where there is none. Of each group and output
    `weight_C` sums to the group's weight over the comparisons, `score_weight_R` over the scored responses and
    `choice_weight_P` over the choices, where it is 0 but at the chosen response: a group of 4 counts as much as a pair.
    `group_R` numbers groups anew for each output, `choice_P` the choices. `reworded_W` points to responses that say
    what `original_W` says.
    """

    better_C: Tensor
    worse_C: Tensor
    strength_C: Tensor
    margin_C: Tensor
    offset_C: Tensor
    weight_C: Tensor
    score_R: Tensor
    score_weight_R: Tensor
    group_R: Tensor
    ranked_P: Tensor
    choice_P: Tensor
    choice_weight_P: Tensor
    reworded_W: Tensor
    original_W: Tensor
    reworded_weight_W: Tensor
    num_groups: int
    num_outputs: int

    @property
    def num_segments(self) -> int:
        """Return the number of groups, counted anew for each output."""
        return self.num_groups * self.num_outputs

    def of(self, outputs: Sequence[int]) -> "Targets":
        """Return what is known about some of the outputs."""
        if len(outputs) == self.num_outputs:
            return self
        per_output = len(self.score_R) // self.num_outputs
        wanted_R = torch.isin(
            torch.arange(len(self.score_R), device=self.score_R.device) // per_output,
            torch.tensor(outputs, device=self.score_R.device),
        )
        of = {"C": wanted_R[self.better_C], "P": wanted_R[self.ranked_P], "W": wanted_R[self.reworded_W]}
        kept: dict[str, Any] = {
            name: value[of[name[-1]]]
            for name in (field.name for field in fields(self))
            if name.endswith(("_C", "_P", "_W")) and isinstance(value := getattr(self, name), Tensor)
        }
        return replace(self, **kept, score_R=self.score_R.masked_fill(~wanted_R, torch.nan))


def make_targets(groups: Sequence["TokenGroup"]) -> Targets:
    """Gather what is known about groups that all have the same aspects."""
    sizes = [len(group.responses) for group in groups]
    num_responses, num_outputs = sum(sizes), 1 + len(groups[0].aspects)
    starts = np.cumsum([0, *sizes[:-1]])
    placed = [
        (output * num_responses + start, group.weight, labels)
        for output in range(num_outputs)
        for start, group in zip(starts.tolist(), groups, strict=True)
        for labels in ((group, *group.aspects)[output],)
    ]
    assert len(placed) == num_outputs * len(groups)
    sizes_G = torch.tensor(sizes).repeat(num_outputs)
    return Targets(
        **_comparisons(placed),
        **_scores(placed, sizes_G.tolist()),
        **_choices(placed),
        **_rewordings(placed, [group.reworded for group in groups] * num_outputs),
        group_R=torch.repeat_interleave(sizes_G),
        num_groups=len(groups),
        num_outputs=num_outputs,
    )


_Placed = Sequence[tuple[int, float, Labels]]
"""Where the rewards of a group and output start, the group's weight, and its labels."""


def _comparisons(placed: _Placed) -> dict[str, Tensor]:
    rows = [
        (
            start + entry.better,
            start + entry.worse,
            entry.strength,
            np.nan if entry.margin is None else entry.margin,
            offset,
            weight / len(labels.comparisons),
        )
        for start, weight, labels in placed
        for entry, offset in zip(labels.comparisons, labels.offsets or (0.0,) * len(labels.comparisons), strict=True)
    ]
    return _columns(rows, ("better_C", "worse_C"), ("strength_C", "margin_C", "offset_C", "weight_C"))


def _scores(placed: _Placed, sizes: Sequence[int]) -> dict[str, Tensor]:
    rows = [(labels.scores, weight, size) for (_, weight, labels), size in zip(placed, sizes, strict=True)]
    scores = [score for given, _, size in rows for score in given or (np.nan,) * size]
    weights = [weight / size if given else 0.0 for given, weight, size in rows for _ in range(size)]
    return {"score_R": torch.tensor(scores), "score_weight_R": torch.tensor(weights)}


def _choices(placed: _Placed) -> dict[str, Tensor]:
    rows = []
    number = 0
    for start, weight, labels in placed:
        for choice in labels.choices:
            for place, response in enumerate(choice):
                rows.append((start + response, number, 0.0 if place else weight / len(labels.choices)))
            number += 1
    return _columns(rows, ("ranked_P", "choice_P"), ("choice_weight_P",))


def _rewordings(placed: _Placed, reworded: Sequence[Mapping[int, int]]) -> dict[str, Tensor]:
    rows = [
        (start + copy, start + original, weight / len(known))
        for (start, weight, _), known in zip(placed, reworded, strict=True)
        for copy, original in known.items()
    ]
    return _columns(rows, ("reworded_W", "original_W"), ("reworded_weight_W",))


def _columns(rows: Sequence[tuple[float, ...]], integers: Sequence[str], numbers: Sequence[str]) -> dict[str, Tensor]:
    """Return a tensor for each column of the rows: first those of integers, then those of floats."""
    names = (*integers, *numbers)
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return {
        name: torch.tensor(column, dtype=torch.long if name in integers else torch.float32)
        for name, column in zip(names, columns, strict=True)
    }
