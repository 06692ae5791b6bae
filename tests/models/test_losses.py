"""Losses against their closed forms, by numpy, and their gradients by finite differences."""

import doctest
import math
from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import Any, get_args

import numpy as np
import pytest
import torch

import models.rankings
from models.batches import TokenGroup
from models.config import NEEDS, Loss, Objective
from models.losses import group_loss
from models.rankings import choices
from models.targets import Labels, Targets, make_targets
from rewardlab.groups import Comparison

REWARDS = [0.3, -0.7, 1.1, 0.2, -1.3, 0.8]


def _labels(size: int, *entries: Comparison, scores: tuple[float, ...] | None = None) -> dict[str, Any]:
    return {"comparisons": entries, "scores": scores, "choices": choices(size, entries, scores)}


def _group(size: int, *entries: Comparison, scores: tuple[float, ...] | None = None, **others: Any) -> TokenGroup:
    one = np.ones(1, dtype=np.int32)
    return TokenGroup(id="x", prompt=one, responses=(one,) * size, **_labels(size, *entries, scores=scores), **others)


def _won(better: int, worse: int, strength: float = 1.0, margin: float | None = None) -> Comparison:
    return Comparison(better=better, worse=worse, strength=strength, margin=margin)


def _loss(groups: Sequence[TokenGroup], loss: Loss, rewards: Sequence[float] = REWARDS, **more: float) -> float:
    objective = Objective(losses=(loss,), **more)
    return group_loss(torch.tensor(rewards, dtype=torch.float64), make_targets(groups), objective=objective).item()


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


def test_label_smoothing_moves_strength_to_the_other_side() -> None:
    group = [_group(2, _won(0, 1, strength=0.8))]
    strength = 0.9 * 0.8 + 0.1 * 0.2
    expected = strength * _softplus(-1.0) + (1 - strength) * _softplus(1.0)
    assert _loss(group, "bradley_terry", REWARDS[:2], label_smoothing=0.1) == pytest.approx(expected)
    tie = [_group(2, _won(0, 1, strength=0.5))]
    assert _loss(tie, "bradley_terry", [2.0, 0.5], label_smoothing=0.1) == _loss(tie, "bradley_terry", [2.0, 0.5])


@pytest.mark.parametrize("loss", ["bradley_terry", "margin_ranking", "plackett_luce"])
def test_centring_adds_the_squared_double_mean_of_each_group_with_labels(loss: Loss) -> None:
    groups = [_group(2, _won(0, 1)), _group(3, _won(2, 0)), _group(1)]
    added = _loss(groups, loss, center_rewards=0.3) - _loss(groups, loss)
    chosen_and_rejected = (0.3 - 0.7) ** 2
    assert added == pytest.approx(0.3 * (chosen_and_rejected + (2 * (1.1 + 0.2 - 1.3) / 3) ** 2) / 2)


def test_centring_of_pairs_is_trls() -> None:
    rewards = np.array([[0.3, -0.7], [1.1, 0.2], [-1.3, 0.8]])
    trl = -np.log(1 / (1 + np.exp(rewards[:, 1] - rewards[:, 0]))).mean() + 0.01 * (rewards.sum(1) ** 2).mean()
    assert _loss([_group(2, _won(0, 1))] * 3, "bradley_terry", center_rewards=0.01) == pytest.approx(trl)


def test_plackett_luce_has_its_closed_form() -> None:
    rewards = np.array(REWARDS[:4])
    order, expected = [2, 0, 3, 1], 0.0
    for place in range(3):
        left = rewards[order[place:]]
        expected -= (left[0] - np.log(np.exp(left).sum())) / 3
    compared = _group(4, *(_won(one, other) for one, other in pairwise(order)))
    scored = _group(4, scores=(2.0, 0.5, 7.0, 1.0))
    assert _loss([compared], "plackett_luce", REWARDS[:4]) == pytest.approx(expected)
    assert _loss([scored], "plackett_luce", REWARDS[:4]) == pytest.approx(expected)


def test_plackett_luce_sums_to_one_over_all_rankings() -> None:
    rankings = [_group(4, scores=scores) for scores in permutations((0.0, 1.0, 2.0, 3.0))]
    probabilities = [math.exp(-3 * _loss([group], "plackett_luce", REWARDS[:4])) for group in rankings]
    assert sum(probabilities) == pytest.approx(1.0)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_plackett_luce_of_a_pair_is_bradley_terrys(strength: float) -> None:
    group = [_group(2, _won(1, 0, strength=strength))]
    assert _loss(group, "plackett_luce", REWARDS[:2]) == pytest.approx(_loss(group, "bradley_terry", REWARDS[:2]))


def test_plackett_luce_chooses_each_tied_response_from_all_that_are_no_better() -> None:
    group = [_group(3, _won(2, 0), _won(2, 1), _won(0, 1, strength=0.5))]
    pair = np.logaddexp(0.3, -0.7)
    expected = (np.logaddexp(pair, 1.1) - 1.1) + (pair - 0.3) + (pair + 0.7)
    assert _loss(group, "plackett_luce", REWARDS[:3]) == pytest.approx(expected / 3)


def test_comparisons_imply_what_follows_from_them_and_no_more() -> None:
    assert choices(4, [_won(0, 1), _won(2, 3)]) == ((0, 1), (2, 3))
    assert choices(3, [_won(0, 1), _won(1, 2), _won(2, 0)]) == ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    assert choices(3, [], None) == ()
    assert doctest.testmod(models.rankings).failed == 0


@pytest.mark.parametrize("loss", get_args(Loss))
def test_a_group_counts_by_its_weight(loss: Loss) -> None:
    labels = {"scores": (0.5, 0.2)} if NEEDS[loss] == "scores" else {}
    groups = [
        _group(2, _won(0, 1), weight=weight, **labels)
        for weight in (1.0, 3.0)  # type: ignore[arg-type]
    ]
    light, heavy = (_loss([group], loss, part) for group, part in zip(groups, (REWARDS[:2], REWARDS[2:4]), strict=True))
    assert _loss(groups, loss, REWARDS[:4]) == pytest.approx((light + 3 * heavy) / 4)


def test_each_aspect_has_a_loss_of_its_own_and_they_add_up() -> None:
    helpful, safe = Labels(comparisons=(_won(1, 0),)), Labels(scores=(1.0, -1.0))
    group = _group(2, _won(0, 1), aspects=(helpful, safe))
    rewards = torch.tensor(REWARDS, dtype=torch.float64).view(3, 2)
    objective = Objective(losses=("bradley_terry", "margin_ranking", "mse"), center_rewards=0.1)
    found = group_loss(rewards, make_targets([group]), objective=objective, reduction="sum").item()
    centred = 0.1 * ((0.3 - 0.7) ** 2 + (1.1 + 0.2) ** 2)
    expected = _softplus(-1.0) + (1.0 + 1.1 - 0.2) + ((-1.3 - 1.0) ** 2 + (0.8 + 1.0) ** 2) / 2
    assert found == pytest.approx(expected + centred)


def test_aspects_of_several_groups_keep_their_places() -> None:
    groups = [_group(2, _won(0, 1), aspects=(Labels(),)), _group(1, aspects=(Labels(scores=(2.0,)),))]
    rewards = torch.tensor(REWARDS, dtype=torch.float64).view(2, 3)
    objective = Objective(losses=("bradley_terry", "mse"))
    found = group_loss(rewards, make_targets(groups), objective=objective, reduction="sum").item()
    assert found == pytest.approx(_softplus(-1.0) + (0.8 - 2.0) ** 2)


def test_members_of_an_ensemble_learn_as_if_alone() -> None:
    targets = make_targets([_group(2, _won(0, 1))])
    rewards = torch.tensor(REWARDS, dtype=torch.float64).view(3, 1, 2).requires_grad_()
    each = [group_loss(member, targets) for member in rewards]
    together = group_loss(rewards, targets)
    assert together.item() == pytest.approx(sum(each).item() / 3)  # type: ignore[union-attr]
    (gradient,) = torch.autograd.grad(together, rewards)
    (alone,) = torch.autograd.grad(sum(each), rewards)
    torch.testing.assert_close(3 * gradient, alone)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label_smoothing": 0.5}, r"label_smoothing is in \[0, 0.5\)"),
        ({"center_rewards": -0.1}, "center_rewards is finite and not negative"),
        ({"losses": ("mse",), "label_smoothing": 0.1}, "label_smoothing is of bradley_terry, and the loss is mse"),
        ({"losses": ("mse",), "center_rewards": 0.1}, "mse fixes it"),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective(**wrong)


def test_extreme_rewards_stay_finite() -> None:
    compared, scored = [_group(2, _won(1, 0))], [_group(2, scores=(0.0, 1.0))]
    assert _loss(compared, "bradley_terry", [1e4, -1e4]) == pytest.approx(2e4)
    assert math.isfinite(_loss(scored, "soft_cross_entropy", [1e4, -1e4]))


def _mixed() -> Targets:
    first = _group(2, _won(0, 1, strength=0.8, margin=0.1), scores=(0.5, 0.2))
    second = _group(3, _won(2, 0), _won(1, 2, strength=0.5))
    return make_targets([first, second, _group(1, scores=(1.0,))])


@pytest.mark.parametrize(
    ("loss", "more"),
    [
        *((loss, {}) for loss in get_args(Loss)),
        *((loss, {"center_rewards": 0.3}) for loss in get_args(Loss) if loss != "mse"),
        ("bradley_terry", {"label_smoothing": 0.1, "center_rewards": 0.01}),
    ],
)
def test_gradients_are_those_of_finite_differences(loss: Loss, more: dict[str, float]) -> None:
    rewards = torch.tensor(REWARDS, dtype=torch.float64, requires_grad=True)
    targets, objective = _mixed(), Objective(losses=(loss,), **more)
    assert torch.autograd.gradcheck(lambda values: group_loss(values, targets, objective=objective), (rewards,))


@pytest.mark.parametrize("loss", get_args(Loss))
def test_sums_do_not_depend_on_how_groups_are_batched(loss: Loss) -> None:
    groups = [_group(2, _won(0, 1), scores=(0.5, 0.2)), _group(4, _won(2, 0), _won(1, 3), scores=(0.0, 1.0, 2.0, 0.3))]
    rewards = torch.tensor(REWARDS)
    objective = Objective(losses=(loss,), center_rewards=0.0 if loss == "mse" else 0.1)
    whole = group_loss(rewards, make_targets(groups), objective=objective, reduction="sum")
    parts = [
        group_loss(part, make_targets([group]), objective=objective, reduction="sum")
        for part, group in zip(rewards.split([2, 4]), groups, strict=True)
    ]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize("loss", get_args(Loss))
def test_a_loss_without_its_targets_is_refused(loss: Loss) -> None:
    others = {"comparisons": _group(2, scores=(0.0, 1.0)), "scores": _group(2, _won(0, 1))}
    with pytest.raises(ValueError, match=f"{loss} needs {NEEDS[loss]}, and no group"):
        _loss([others.get(NEEDS[loss], _group(2))], loss, REWARDS[:2])


def test_targets_move_between_devices() -> None:
    moved = _mixed().to("meta")
    assert moved.better_C.device.type == moved.group_R.device.type == "meta"
    assert moved.num_groups == 3
