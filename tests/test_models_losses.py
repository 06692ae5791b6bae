"""Losses against their closed forms, by numpy, and their gradients by finite differences."""

import math
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
import torch

from models.batches import TokenGroup, make_targets
from models.config import Loss
from models.losses import Targets, group_loss
from rewardlab.groups import Comparison

REWARDS = [0.3, -0.7, 1.1, 0.2, -1.3, 0.8]


def _group(size: int, *entries: Comparison, scores: tuple[float, ...] | None = None) -> TokenGroup:
    one = np.ones(1, dtype=np.int32)
    return TokenGroup(id="x", prompt=one, responses=(one,) * size, comparisons=entries, scores=scores)


def _won(better: int, worse: int, strength: float = 1.0, margin: float | None = None) -> Comparison:
    return Comparison(better=better, worse=worse, strength=strength, margin=margin)


def _loss(groups: Sequence[TokenGroup], loss: Loss, rewards: Sequence[float] = REWARDS) -> float:
    return group_loss(torch.tensor(rewards, dtype=torch.float64), make_targets(groups), loss=loss).item()


def _softplus(value: float) -> float:
    return float(np.logaddexp(0, value))


def test_bradley_terry_has_its_closed_form() -> None:
    hard, soft = _group(2, _won(0, 1)), _group(2, _won(1, 0, strength=0.75))
    soft_part = 0.75 * _softplus(-(0.2 - 1.1)) + 0.25 * _softplus(0.2 - 1.1)
    assert _loss([hard], "bradley_terry", REWARDS[:2]) == pytest.approx(_softplus(-1.0))
    assert _loss([hard, soft], "bradley_terry", REWARDS[:4]) == pytest.approx((_softplus(-1.0) + soft_part) / 2)


def test_a_margin_subtracts() -> None:
    assert _loss([_group(2, _won(0, 1, margin=0.5))], "bradley_terry", REWARDS[:2]) == pytest.approx(_softplus(-0.5))
    assert _loss([_group(2, _won(0, 1, margin=1.5))], "margin_ranking", REWARDS[:2]) == pytest.approx(0.5)


def test_margin_ranking_is_a_hinge_at_one() -> None:
    group = [_group(2, _won(0, 1))]
    for difference, expected in ((2.0, 0.0), (0.25, 0.75), (-1.0, 2.0)):
        assert _loss(group, "margin_ranking", [difference, 0.0]) == pytest.approx(expected)


@pytest.mark.parametrize("loss", ["bradley_terry", "margin_ranking"])
def test_ties_are_symmetric_and_lowest_at_equality(loss: Loss) -> None:
    tie = [_group(2, _won(0, 1, strength=0.5, margin=0.7))]
    one, other, equal = (_loss(tie, loss, rewards) for rewards in ([1.0, 0.0], [0.0, 1.0], [0.4, 0.4]))
    assert one == pytest.approx(other)
    assert equal < one


@pytest.mark.parametrize("loss", ["bradley_terry", "margin_ranking"])
def test_a_group_of_four_counts_as_much_as_a_pair(loss: Loss) -> None:
    pair, four = _group(2, _won(0, 1)), _group(4, *(_won(i, j) for i in range(4) for j in range(i + 1, 4)))
    alone = _loss([pair], loss, REWARDS[:2]), _loss([four], loss, REWARDS[2:])
    assert _loss([pair, four], loss) == pytest.approx(sum(alone) / 2)


def test_mse_has_its_closed_form() -> None:
    groups = [_group(2, scores=(1.0, 0.0)), _group(1), _group(3, scores=(0.0, 0.5, -1.0))]
    first = ((0.3 - 1.0) ** 2 + 0.7**2) / 2
    second = (0.2**2 + (-1.3 - 0.5) ** 2 + (0.8 + 1.0) ** 2) / 3
    assert _loss(groups, "mse") == pytest.approx((first + second) / 2)


def test_soft_cross_entropy_has_its_closed_form() -> None:
    groups = [_group(2, scores=(1.0, 0.0)), _group(1), _group(3, scores=(0.0, 0.5, -1.0))]
    expected = 0.0
    for rewards, scores in ((REWARDS[:2], [1.0, 0.0]), (REWARDS[3:], [0.0, 0.5, -1.0])):
        target = np.exp(scores) / np.exp(scores).sum()
        expected -= float((target * (np.array(rewards) - np.log(np.exp(rewards).sum()))).sum()) / 2
    assert _loss(groups, "soft_cross_entropy") == pytest.approx(expected)


def test_extreme_rewards_stay_finite() -> None:
    compared, scored = [_group(2, _won(1, 0))], [_group(2, scores=(0.0, 1.0))]
    assert _loss(compared, "bradley_terry", [1e4, -1e4]) == pytest.approx(2e4)
    assert math.isfinite(_loss(scored, "soft_cross_entropy", [1e4, -1e4]))


def _mixed() -> Targets:
    first = _group(2, _won(0, 1, strength=0.8, margin=0.1), scores=(0.5, 0.2))
    second = _group(3, _won(2, 0), _won(1, 2, strength=0.5))
    return make_targets([first, second, _group(1, scores=(1.0,))])


@pytest.mark.parametrize("loss", get_args(Loss))
def test_gradients_are_those_of_finite_differences(loss: Loss) -> None:
    rewards = torch.tensor(REWARDS, dtype=torch.float64, requires_grad=True)
    targets = _mixed()
    assert torch.autograd.gradcheck(lambda values: group_loss(values, targets, loss=loss), (rewards,))


@pytest.mark.parametrize("loss", get_args(Loss))
def test_sums_do_not_depend_on_how_groups_are_batched(loss: Loss) -> None:
    groups = [_group(2, _won(0, 1), scores=(0.5, 0.2)), _group(4, _won(2, 0), _won(1, 3), scores=(0.0, 1.0, 2.0, 0.3))]
    rewards = torch.tensor(REWARDS)
    whole = group_loss(rewards, make_targets(groups), loss=loss, reduction="sum")
    parts = [
        group_loss(part, make_targets([group]), loss=loss, reduction="sum")
        for part, group in zip(rewards.split([2, 4]), groups, strict=True)
    ]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize("loss", get_args(Loss))
def test_a_loss_without_its_targets_is_refused(loss: Loss) -> None:
    other = _group(2, scores=(0.0, 1.0)) if loss in ("bradley_terry", "margin_ranking") else _group(2, _won(0, 1))
    with pytest.raises(ValueError, match=f"{loss} needs"):
        _loss([other], loss, REWARDS[:2])


def test_targets_move_between_devices() -> None:
    moved = _mixed().to("meta")
    assert moved.better_C.device.type == moved.group_R.device.type == "meta"
    assert moved.num_groups == 3
