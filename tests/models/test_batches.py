"""Batches: whole groups, right padding, a budget, and the same order for the same seed."""

import math

import numpy as np
import pytest
import torch

from models.batches import TokenGroup, collate, cut_batches, length_sorted_batches
from rewardlab.groups import Comparison

ONE = np.ones(1, dtype=np.int32)


def _group(name: str, *lengths: int) -> TokenGroup:
    prompt, responses = np.ones(1, dtype=np.int32), tuple(np.arange(2, n + 1, dtype=np.int32) for n in lengths)
    entry = Comparison(better=1, worse=0, strength=0.9, margin=0.5)
    return TokenGroup(id=name, prompt=prompt, responses=responses, comparisons=(entry,) if len(lengths) > 1 else ())


def _many(num: int = 700) -> list[TokenGroup]:
    generator = np.random.default_rng(0)
    return [_group(str(index), *generator.integers(1, 60, generator.integers(1, 5))) for index in range(num)]


def test_sequences_are_padded_on_the_right() -> None:
    batch = collate([_group("a", 3, 1), _group("b", 2)], pad_id=9)
    assert batch.ids_BT.tolist() == [[1, 2, 3], [1, 9, 9], [1, 2, 9]]
    assert batch.lengths_B.tolist() == [3, 1, 2]
    assert batch.ids_BT.dtype == batch.lengths_B.dtype == torch.int64
    assert batch.group_ids == ("a", "b")


def test_targets_point_into_the_rows() -> None:
    scored = TokenGroup(id="c", prompt=ONE, responses=(ONE,) * 2, scores=(0.5, 1.0))
    targets = collate([_group("a", 1), _group("b", 1, 1), scored], pad_id=0).targets
    assert (targets.better_C.tolist(), targets.worse_C.tolist()) == ([2], [1])
    assert targets.strength_C.tolist() == pytest.approx([0.9])
    assert targets.margin_C.tolist() == [0.5]
    assert targets.group_R.tolist() == [0, 1, 1, 2, 2]
    assert targets.score_R.tolist()[3:] == [0.5, 1.0]
    assert all(map(math.isnan, targets.score_R.tolist()[:3]))
    assert targets.score_weight_R.tolist() == [0.0, 0.0, 0.0, 0.5, 0.5]


def test_weights_of_a_group_sum_to_one() -> None:
    entries = tuple(Comparison(better=i, worse=j) for i in range(4) for j in range(i + 1, 4))
    four = TokenGroup(id="d", prompt=ONE, responses=(ONE,) * 4, comparisons=entries)
    targets = collate([four, _group("a", 1, 1)], pad_id=0).targets
    assert targets.weight_C.sum().item() == pytest.approx(2.0)
    assert targets.weight_C[:6].sum().item() == pytest.approx(1.0)


def test_no_batch_exceeds_the_budget_and_no_group_is_lost() -> None:
    groups = _many()
    batches = length_sorted_batches(groups, budget=512, pad_id=0)
    assert max(batch.ids_BT.numel() for batch in batches) <= 512
    assert sorted(name for batch in batches for name in batch.group_ids) == sorted(group.id for group in groups)


def test_little_is_padding() -> None:
    batches = length_sorted_batches(_many(), budget=2048, pad_id=0)
    real = sum(int(batch.lengths_B.sum()) for batch in batches)
    assert real / sum(batch.ids_BT.numel() for batch in batches) > 0.6


def test_a_group_beyond_the_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="'big' has 3 responses of up to 50 tokens, the budget is 149"):
        cut_batches([_group("small", 3), _group("big", 50, 1, 1)], budget=149)


def test_nothing_makes_no_batches() -> None:
    assert cut_batches([], budget=10) == []


def test_batches_move_between_devices() -> None:
    batch = collate([_group("a", 3, 1)], pad_id=0).to("meta")
    assert {batch.ids_BT.device.type, batch.lengths_B.device.type, batch.targets.weight_C.device.type} == {"meta"}
