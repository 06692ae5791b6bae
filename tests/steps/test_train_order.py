"""The order of training: a pair that shares its responses stays together, and every group comes once an epoch."""

from itertools import chain

import numpy as np

from models.batches import TokenGroup
from steps.train.order import Order, pair_up, shuffled


def group(name: str, *responses: int) -> TokenGroup:
    ids = tuple(np.array([response], np.int32) for response in responses)
    return TokenGroup(id=name, prompt=np.array([0], np.int32), responses=ids)


def test_groups_with_the_same_responses_are_paired_in_any_order_of_responses() -> None:
    groups = [group("a", 1, 2), group("b", 3, 4), group("c", 2, 1), group("d", 1, 2), group("e", 1, 3)]
    assert pair_up(groups) == [(0, 2), (1,), (3,), (4,)]


def test_many_groups_with_the_same_responses_make_pairs_and_no_crowd() -> None:
    assert pair_up([group(str(at), 5, 6) for at in range(5)]) == [(0, 1), (2, 3), (4,)]


def test_an_epoch_holds_every_group_once_and_pairs_side_by_side() -> None:
    pairs = [(0, 3), (1,), (2, 5), (4,)]
    first, second = (list(shuffled(pairs, seed=0, epoch=epoch)) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(6))
    assert first != second
    assert all(
        order.index(3) == order.index(0) + 1 and order.index(5) == order.index(2) + 1 for order in (first, second)
    )
    assert first == list(shuffled(pairs, seed=0, epoch=0))


def test_steps_take_an_epoch_piece_by_piece_from_wherever_they_begin() -> None:
    pairs = [(at,) for at in range(7)]
    order = Order(pairs, seed=3, groups_per_step=3)
    steps = [order.step(step) for step in range(1, 7)]
    assert order.steps_per_epoch == 3
    assert [len(step) for step in steps] == [3, 3, 1, 3, 3, 1]
    first, second = (sorted(chain(*steps[at : at + 3])) for at in (0, 3))
    assert first == second == list(range(7))
    assert Order(pairs, seed=3, groups_per_step=3).step(5) == steps[4]
