"""Losses over the rewards of preference groups, averaged per group.

Shapes: R responses of all groups in a batch, S of them with a score, C comparisons, G groups.
"""
# ruff: noqa: N815

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from models.config import COMPARED, Loss


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """What is known about a flat vector of rewards.

    Indices point into that vector. `margin_C` and `score_R` are NaN where there is none. `weight_C` sums to 1 over the
    comparisons of a group, `score_weight_R` over its scored responses, so that a group of 4 counts as much as a pair.
    """

    better_C: Tensor
    worse_C: Tensor
    strength_C: Tensor
    margin_C: Tensor
    weight_C: Tensor
    score_R: Tensor
    score_weight_R: Tensor
    group_R: Tensor
    num_groups: int

    def to(self, device: torch.device | str) -> "Targets":
        """Return the targets on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        return Targets(**(values | moved))


def group_loss(
    rewards_R: Tensor,
    targets: Targets,
    *,
    loss: Loss = "bradley_terry",
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Return the loss averaged (or summed) over the groups that have targets for it.

    Raises:
        ValueError: no group has such targets.
    """
    if loss in COMPARED:
        total, num_groups = _compared(rewards_R, targets, bradley_terry if loss == "bradley_terry" else margin_ranking)
    else:
        total, num_groups = _scored(rewards_R, targets, mse if loss == "mse" else soft_cross_entropy)
    if not num_groups:
        lacking = "comparisons" if loss in COMPARED else "scores"
        raise ValueError(f"{loss} needs {lacking}, and no group of the batch has any: choose another loss")
    return total / num_groups if reduction == "mean" else total


def _compared(
    rewards_R: Tensor, targets: Targets, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    difference_C = rewards_R[targets.better_C] - rewards_R[targets.worse_C]
    weight_C = targets.weight_C.to(rewards_R)
    values_C = loss(difference_C, targets.strength_C.to(rewards_R), targets.margin_C.to(rewards_R))
    return (weight_C * values_C).sum(), weight_C.sum()


def _scored(
    rewards_R: Tensor, targets: Targets, loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    (known_S,) = (~targets.score_R.isnan()).nonzero(as_tuple=True)
    weight_S = targets.score_weight_R[known_S].to(rewards_R)
    score_S = targets.score_R[known_S].to(rewards_R)
    return loss(rewards_R[known_S], score_S, weight_S, targets.group_R[known_S]).sum(), weight_S.sum()


def bradley_terry(difference_C: Tensor, strength_C: Tensor, margin_C: Tensor) -> Tensor:
    """Return the cross-entropy of P(better wins) = sigmoid(difference - margin) against its strength.

    Source: Bradley & Terry 1952; for rewards, Ouyang et al. 2022 (InstructGPT), equation 1; the margin is Touvron et
    al. 2023 (Llama 2), equation 2. A tie has no margin, so that it is symmetric.
    """
    known = (strength_C > 0.5) & ~margin_C.isnan()
    logit_C = difference_C - torch.where(known, margin_C, 0.0)
    return -(strength_C * logsigmoid(logit_C) + (1 - strength_C) * logsigmoid(-logit_C))


def margin_ranking(difference_C: Tensor, strength_C: Tensor, margin_C: Tensor) -> Tensor:
    """Return the hinge max(0, margin - difference), with margin 1 where none is known.

    Source: Herbrich et al. 2000, "Large margin rank boundaries for ordinal regression". A tie costs the mean of both
    directions' hinges at margin 0, which is half the distance.
    """
    hinge_C = (torch.where(margin_C.isnan(), 1.0, margin_C) - difference_C).clamp(min=0)
    return torch.where(strength_C > 0.5, hinge_C, difference_C.abs() / 2)


def mse(rewards_S: Tensor, score_S: Tensor, weight_S: Tensor, _group_S: Tensor) -> Tensor:
    """Return each response's weighted squared distance from its score."""
    return weight_S * (rewards_S - score_S) ** 2


def soft_cross_entropy(rewards_S: Tensor, score_S: Tensor, _weight_S: Tensor, group_S: Tensor) -> Tensor:
    """Return each response's term of its group's cross-entropy of softmax(rewards) against softmax(scores).

    Source: Cao et al. 2007, "Learning to rank: from pairwise approach to listwise approach" (ListNet), section 4.2:
    top-one probabilities, here at temperature 1.
    """
    return -_log_softmax(score_S, group_S).exp() * _log_softmax(rewards_S, group_S)


def _log_softmax(values_S: Tensor, group_S: Tensor) -> Tensor:
    """Return the log-softmax within each group, its highest value taken off first so that exp cannot overflow."""
    num_groups = int(group_S.max()) + 1 if len(group_S) else 0
    lowest_G = values_S.new_full((num_groups,), torch.finfo(values_S.dtype).min)
    highest_G = lowest_G.scatter_reduce(0, group_S, values_S.detach(), "amax")
    shifted_S = values_S - highest_G[group_S]
    total_G = torch.zeros_like(highest_G).index_add(0, group_S, shifted_S.exp())
    return shifted_S - total_G.log()[group_S]
