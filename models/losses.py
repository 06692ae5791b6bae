"""Losses over the rewards of preference groups, averaged per group.

Shapes: R rewards of all responses and outputs of a batch, S of them with a score, C comparisons, P places in choices,
W reworded responses, G groups of all outputs. See `models.targets`.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from models.config import NEEDS, Objective
from models.targets import Targets

_BRADLEY_TERRY = Objective()


def group_loss(
    rewards: Tensor,
    targets: Targets,
    *,
    objective: Objective = _BRADLEY_TERRY,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Return the loss averaged (or summed) over the groups that have targets for it, each by its weight.

    Every output has a loss of its own, and they add up. An ensemble's rewards, [H, ...], are H such sums, of which the
    mean is returned: each member learns as if it were alone.

    Raises:
        ValueError: no group has such targets.
    """
    members_HR = rewards.reshape(-1, len(targets.score_R))
    found = [_one_member(rewards_R, targets, objective) for rewards_R in members_HR]
    total, weight = torch.stack([total for total, _ in found]).mean(), found[0][1]
    if not weight:
        names = ", ".join(dict.fromkeys(objective.losses))
        lacking = " or ".join(dict.fromkeys(NEEDS[loss] for loss in objective.losses))
        raise ValueError(f"{names} needs {lacking}, and no group of the batch has any: choose another loss")
    return total / weight if reduction == "mean" else total


def _one_member(rewards_R: Tensor, targets: Targets, objective: Objective) -> tuple[Tensor, Tensor]:
    """Return the sum over groups and outputs, and the sum of their weights."""
    assert len(objective.losses) == targets.num_outputs
    totals, weights = [], []
    for loss in dict.fromkeys(objective.losses):
        known = targets.of([output for output, each in enumerate(objective.losses) if each == loss])
        total, weight_G = _LOSSES[loss](rewards_R, known, objective)
        if objective.center_rewards and loss != "mse":
            total = total + objective.center_rewards * (weight_G * center(rewards_R, targets)).sum()
        if objective.consistency:
            gap_W = rewards_R[known.reworded_W] - rewards_R[known.original_W]
            total = total + objective.consistency * (known.reworded_weight_W.to(gap_W) * consistency(gap_W)).sum()
        totals.append(total)
        weights.append(weight_G.sum())
    return torch.stack(totals).sum(), torch.stack(weights).sum()


def bradley_terry(difference_C: Tensor, strength_C: Tensor, margin_C: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of P(better wins) = sigmoid(difference - margin) against its strength.

    Source: Bradley & Terry 1952; for rewards, Ouyang et al. 2022 (InstructGPT), equation 1; the margin is Touvron et
    al. 2023 (Llama 2), equation 2. A tie has no margin, so that it is symmetric. With label smoothing a share of each
    strength goes to the other side (Szegedy et al. 2016, section 7; for preferences Mitchell 2023, conservative DPO).
    """
    known = (strength_C > 0.5) & ~margin_C.isnan()
    logit_C = difference_C - torch.where(known, margin_C, 0.0)
    strength_C = (1 - smoothing) * strength_C + smoothing * (1 - strength_C)
    return -(strength_C * logsigmoid(logit_C) + (1 - strength_C) * logsigmoid(-logit_C))


def debiased(difference_C: Tensor, offset_C: Tensor) -> Tensor:
    """Return the logits of a product of experts: the reward's difference and a bias model's logit, added.

    The bias model knows one thing that labels follow and the reward should not, such as length (`steps.train.length`);
    it is there in training alone, so that what it explains is not learned by the reward (Clark, Yatskar & Zettlemoyer
    2019, "Don't Take the Easy Way Out", section 3.2, "bias product"). A tie of the labels has an offset too: it turns
    its sign with the sides.

    It takes the place of ODIN's length head (Chen et al. 2024, "Disentangled Reward Mitigates Hacking", section 3),
    which adds a second head's difference to that of the first, pair by pair, and keeps the two apart by correlations
    with length and by orthogonality. ODIN's public code does neither: it takes logsigmoid of the difference of sums
    over the whole batch and both heads, which is one loss for a batch and not one for a pair, and its orthogonality is
    commented out. Here each pair has its own logit, and since the bias model reads length and nothing else there is no
    second head to keep apart, nor a correlation over a batch, which would change with micro-batches and processes.
    """
    return difference_C + offset_C


def consistency(gap_W: Tensor) -> Tensor:
    """Return the squared difference of the rewards of a response and its rewording.

    Source: Wu et al. 2025, "reWordBench", section 5: the reward of a paraphrase is pulled to that of the original.
    """
    return gap_W**2


def margin_ranking(difference_C: Tensor, strength_C: Tensor, margin_C: Tensor) -> Tensor:
    """Return the hinge max(0, margin - difference), with margin 1 where none is known.

    Source: Herbrich et al. 2000, "Large margin rank boundaries for ordinal regression". A tie costs the mean of both
    directions' hinges at margin 0, which is half the distance.
    """
    hinge_C = (torch.where(margin_C.isnan(), 1.0, margin_C) - difference_C).clamp(min=0)
    return torch.where(strength_C > 0.5, hinge_C, difference_C.abs() / 2)


def plackett_luce(rewards_P: Tensor, choice_P: Tensor) -> Tensor:
    """Return -log of the share that each place of a choice has in the sum of exp(reward) over the choice's places.

    At the chosen place that is the factor of the ranking's probability. Source: Plackett 1975, "The analysis of
    permutations"; Luce 1959. Tied responses are each chosen from all that are no better (Breslow 1974), and a group's
    loss is the mean over its choices, so that for a pair, also a tied one, it is Bradley-Terry's.
    """
    return -_log_softmax(rewards_P, choice_P)


def mse(rewards_S: Tensor, score_S: Tensor) -> Tensor:
    """Return each response's squared distance from its score."""
    return (rewards_S - score_S) ** 2


def soft_cross_entropy(rewards_S: Tensor, score_S: Tensor, group_S: Tensor) -> Tensor:
    """Return each response's term of its group's cross-entropy of softmax(rewards) against softmax(scores).

    Source: Cao et al. 2007, "Learning to rank: from pairwise approach to listwise approach" (ListNet), section 4.2:
    top-one probabilities, here at temperature 1.
    """
    return -_log_softmax(score_S, group_S).exp() * _log_softmax(rewards_S, group_S)


def center(rewards_R: Tensor, targets: Targets) -> Tensor:
    """Return each group's squared double mean, which for a pair is (chosen + rejected)^2.

    Source: Eisenstein et al. 2023, "Helping or herding?", equation 2; TRL's `center_rewards_coefficient`. It is not the
    sum, so that the pull to zero does not grow with the number of responses.
    """
    total_G, count_G = (
        _sum_by(targets.group_R, values_R, targets.num_segments) for values_R in (rewards_R, torch.ones_like(rewards_R))
    )
    return (2 * total_G / count_G) ** 2


def _bradley_terry(rewards_R: Tensor, targets: Targets, objective: Objective) -> tuple[Tensor, Tensor]:
    difference_C, strength_C, margin_C, weight_C, group_C = _compared(rewards_R, targets)
    logit_C = debiased(difference_C, targets.offset_C.to(difference_C))
    values_C = bradley_terry(logit_C, strength_C, margin_C, objective.label_smoothing)
    return (weight_C * values_C).sum(), _sum_by(group_C, weight_C, targets.num_segments)


def _margin_ranking(rewards_R: Tensor, targets: Targets, _objective: Objective) -> tuple[Tensor, Tensor]:
    difference_C, strength_C, margin_C, weight_C, group_C = _compared(rewards_R, targets)
    values_C = margin_ranking(difference_C, strength_C, margin_C)
    return (weight_C * values_C).sum(), _sum_by(group_C, weight_C, targets.num_segments)


def _plackett_luce(rewards_R: Tensor, targets: Targets, _objective: Objective) -> tuple[Tensor, Tensor]:
    weight_P = targets.choice_weight_P.to(rewards_R)
    values_P = plackett_luce(rewards_R[targets.ranked_P], targets.choice_P)
    group_P = targets.group_R[targets.ranked_P]
    return (weight_P * values_P).sum(), _sum_by(group_P, weight_P, targets.num_segments)


def _mse(rewards_R: Tensor, targets: Targets, _objective: Objective) -> tuple[Tensor, Tensor]:
    rewards_S, score_S, weight_S, group_S = _scored(rewards_R, targets)
    return (weight_S * mse(rewards_S, score_S)).sum(), _sum_by(group_S, weight_S, targets.num_segments)


def _soft_cross_entropy(rewards_R: Tensor, targets: Targets, _objective: Objective) -> tuple[Tensor, Tensor]:
    rewards_S, score_S, weight_S, group_S = _scored(rewards_R, targets)
    weight_G = _sum_by(group_S, weight_S, targets.num_segments)
    return (weight_G[group_S] * soft_cross_entropy(rewards_S, score_S, group_S)).sum(), weight_G


_LOSSES: dict[str, Callable[[Tensor, Targets, Objective], tuple[Tensor, Tensor]]] = {
    "bradley_terry": _bradley_terry,
    "margin_ranking": _margin_ranking,
    "plackett_luce": _plackett_luce,
    "mse": _mse,
    "soft_cross_entropy": _soft_cross_entropy,
}
"""Each returns the weighted sum over groups, and the weight of each group that has targets for it, weight_G."""


def _compared(rewards_R: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    difference_C = rewards_R[targets.better_C] - rewards_R[targets.worse_C]
    strength_C, margin_C, weight_C = (
        each.to(rewards_R) for each in (targets.strength_C, targets.margin_C, targets.weight_C)
    )
    return difference_C, strength_C, margin_C, weight_C, targets.group_R[targets.better_C]


def _scored(rewards_R: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (known_S,) = (~targets.score_R.isnan()).nonzero(as_tuple=True)
    score_S, weight_S = (each[known_S].to(rewards_R) for each in (targets.score_R, targets.score_weight_R))
    return rewards_R[known_S], score_S, weight_S, targets.group_R[known_S]


def _sum_by(group_X: Tensor, values_X: Tensor, num_groups: int) -> Tensor:
    """Add values up by the numbers of their groups."""
    return values_X.new_zeros(num_groups).index_add(0, group_X, values_X)


def _log_softmax(values_S: Tensor, group_S: Tensor) -> Tensor:
    """Return the log-softmax within each group, its highest value taken off first so that exp cannot overflow."""
    num_groups = int(group_S.max()) + 1 if len(group_S) else 0
    lowest_G = values_S.new_full((num_groups,), torch.finfo(values_S.dtype).min)
    highest_G = lowest_G.scatter_reduce(0, group_S, values_S.detach(), "amax")
    shifted_S = values_S - highest_G[group_S]
    total_G = torch.zeros_like(highest_G).index_add(0, group_S, shifted_S.exp())
    return shifted_S - total_G.log()[group_S]
