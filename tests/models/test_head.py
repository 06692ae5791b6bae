"""The reward head alone, on hidden states of no model in particular."""

import doctest
import itertools

import pytest
import torch

import models.head
from models.config import Head
from models.head import RewardHead
from rewardlab.readout import Pooling

POOLINGS: tuple[Pooling, ...] = ("last_token", "mean", "cls", "attention")
HEADS: tuple[Head, ...] = ("linear", "mlp")
GRID = list(itertools.product(POOLINGS, HEADS))


def _head(pooling: Pooling, kind: Head) -> RewardHead:
    head = RewardHead(8, pooling=pooling, kind=kind)
    if head.query is not None:
        head.query.data.normal_(generator=torch.Generator().manual_seed(1))
    return head


def _hidden(length: int) -> torch.Tensor:
    return torch.randn(1, length, 8, generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize(("pooling", "kind"), GRID)
def test_padding_on_either_side_changes_nothing(pooling: Pooling, kind: Head) -> None:
    head, hidden, junk = _head(pooling, kind), _hidden(5), 100 * torch.ones(1, 3, 8)
    alone = head(hidden, torch.ones(1, 5))
    right = head(torch.cat([hidden, junk], 1), torch.tensor([[1] * 5 + [0] * 3]))
    left = head(torch.cat([junk, hidden], 1), torch.tensor([[0] * 3 + [1] * 5]))
    torch.testing.assert_close(torch.cat([right, left]), alone.expand(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("pooling", "kind"), GRID)
def test_every_parameter_learns(pooling: Pooling, kind: Head) -> None:
    head = _head(pooling, kind)
    head(_hidden(5), torch.ones(1, 5)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in head.parameters())


def test_positions_are_the_first_and_the_last_real_ones() -> None:
    hidden = torch.arange(4.0)[None, :, None].expand(2, -1, 8)
    mask = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1]])
    for pooling, expected in (("last_token", [2.0, 3.0]), ("cls", [1.0, 0.0]), ("mean", [1.5, 1.5])):
        head = RewardHead(8, pooling=pooling)  # type: ignore[arg-type]
        head.score.weight.data.fill_(1 / 8)
        assert head(hidden, mask).tolist() == pytest.approx(expected)


def test_attention_starts_as_the_mean() -> None:
    hidden, mask = _hidden(6), torch.tensor([[1, 1, 1, 1, 0, 0]])
    attention, mean = RewardHead(8, pooling="attention"), RewardHead(8, pooling="mean")
    torch.testing.assert_close(attention(hidden, mask), mean(hidden, mask))


def test_attention_follows_its_query() -> None:
    hidden = torch.eye(3, 8)[None]
    head = RewardHead(8, pooling="attention")
    assert head.query is not None
    head.query.data[1] = 1e4
    torch.testing.assert_close(head(hidden, torch.ones(1, 3)), head.score.weight[0, 1:2])


def test_rewards_are_fp32_under_autocast() -> None:
    head, hidden = RewardHead(8, pooling="last_token"), _hidden(4).bfloat16()
    expected = head(hidden.float(), torch.ones(1, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rewards = head(hidden, torch.ones(1, 4))
    assert rewards.dtype == torch.float32
    assert torch.equal(rewards, expected)


def test_weights_come_from_the_seed_with_a_tenth_of_the_published_spread() -> None:
    torch.manual_seed(3)
    first, again, other = (RewardHead(4095, pooling="last_token", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.score.weight, again.score.weight)
    assert not torch.equal(first.score.weight, other.score.weight)
    assert first.score.weight.std().item() == pytest.approx(0.1 / 64, rel=0.05)
    assert first.score.bias is None


def test_the_example_holds() -> None:
    assert doctest.testmod(models.head).failed == 0
