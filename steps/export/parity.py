"""Hold the ONNX graph against torch, and a response alone against the same one among others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rewardlab.config import Report, optional
from rewardlab.engine.session import Session
from rewardlab.tokens import TokenTree

if TYPE_CHECKING:
    from models.reward_model import RewardModel

PARITY_TOLERANCE = 1e-5
"""Largest difference between torch and ONNX Runtime, in units of max(1, s.d. of the rewards)."""

Rewards = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity(Report):
    """The largest difference of two engines on some texts, and its tolerance.

    `same_alone` says whether a response's reward is the same beside others and alone.
    """

    max_error: float
    tolerance: float
    share_of_tolerance: float
    num: int
    same_alone: bool | None = optional()


def torch_outputs(model: "RewardModel", trees: Sequence[TokenTree]) -> Rewards:
    """Return torch's reward of each response, and behind it that of each aspect: [N, 1 + A].

    Prompt and response are in one row, one unpadded forward at a time.
    """
    import torch

    model.eval()
    sequences = [tree.sequence(index) for tree in trees for index in range(len(tree.responses))]
    with torch.no_grad():
        rewards = [model(torch.tensor([list(ids)]), torch.tensor([len(ids)])).flatten() for ids in sequences]
    outputs: Rewards = torch.stack(rewards).numpy()
    return outputs


def check_parity(expected: Rewards, found: Rewards) -> Parity:
    """Return the largest difference and its tolerance.

    Raises:
        ValueError: the engines disagree, or a reward is not finite.
    """
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        raise ValueError("the model returns rewards that are not finite: train it again, nothing was sealed")
    tolerance = PARITY_TOLERANCE * max(1.0, float(expected.std()))
    error = float(np.abs(expected - found).max())
    if not error <= tolerance:
        raise ValueError(
            f"torch and ONNX Runtime disagree by {error:.2e} (allowed {tolerance:.2e}) on {len(expected)} texts: "
            "the export is wrong, nothing was sealed"
        )
    return Parity(max_error=error, tolerance=tolerance, share_of_tolerance=error / tolerance, num=len(expected))


def same_alone(session: Session, trees: Sequence[TokenTree]) -> bool:
    """Say whether each response's outputs are, to the bit, the same beside others and with nothing beside it."""
    alone = [session.outputs([leaf]) for tree in trees for leaf in _leaves(tree)]
    return bool(np.array_equal(session.outputs(trees), np.concatenate(alone)))


def _leaves(tree: TokenTree) -> Iterator[TokenTree]:
    for response, truncated in zip(tree.responses, tree.truncated, strict=True):
        yield TokenTree(tree.prompt, (response,), (truncated,))
