"""Hold the ONNX graph against torch, and measure what INT8 would change."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rewardlab.engine.session import Session
from rewardlab.metrics import labelled_pairs
from rewardlab.tokens import TokenTree

if TYPE_CHECKING:
    from models.reward_model import RewardModel
    from rewardlab.groups import PreferenceGroup

PARITY_TOLERANCE = 1e-5
"""Largest difference between torch and ONNX Runtime, in units of max(1, s.d. of the rewards)."""

Rewards = npt.NDArray[np.float32]


def torch_rewards(model: "RewardModel", trees: Sequence[TokenTree]) -> Rewards:
    """Return torch's reward of each response: prompt and response in one row, one unpadded forward at a time."""
    return torch_outputs(model, trees)[:, 0]


def torch_outputs(model: "RewardModel", trees: Sequence[TokenTree]) -> Rewards:
    """Return torch's reward of each response as `torch_rewards`, and behind it that of each aspect: [N, 1 + A]."""
    import torch

    model.eval()
    sequences = [tree.sequence(index) for tree in trees for index in range(len(tree.responses))]
    with torch.no_grad():
        rewards = [model(torch.tensor([list(ids)]), torch.tensor([len(ids)])).flatten() for ids in sequences]
    outputs: Rewards = torch.stack(rewards).numpy()
    return outputs


def check_parity(expected: Rewards, found: Rewards) -> dict[str, Any]:
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
    return {
        "max_error": error,
        "tolerance": tolerance,
        "share_of_tolerance": error / tolerance,
        "num": len(expected),
    }


def same_alone(session: Session, trees: Sequence[TokenTree]) -> bool:
    """Say whether each response's outputs are, to the bit, the same beside others and with nothing beside it."""
    alone = [session.outputs([leaf]) for tree in trees for leaf in _leaves(tree)]
    return bool(np.array_equal(session.outputs(trees), np.concatenate(alone)))


def check_alone(session: Session, trees: Sequence[TokenTree]) -> bool:
    """Return True.

    Raises:
        ValueError: a response's reward depends on what is scored beside it.
    """
    if not same_alone(session, trees):
        raise ValueError("rewards of the exported graph depend on what else is in the batch: nothing was sealed")
    return True


def _leaves(tree: TokenTree) -> Iterator[TokenTree]:
    for response, truncated in zip(tree.responses, tree.truncated, strict=True):
        yield TokenTree(tree.prompt, (response,), (truncated,))


def measure_int8(
    model: Path, pad_id: int, groups: "Sequence[PreferenceGroup]", trees: Sequence[TokenTree]
) -> dict[str, Any]:
    """Quantize to ONNX Runtime's dynamic INT8 and return error, flips and speed beside fp32; the result is not kept.

    Dynamic INT8 makes a reward depend on its batch-mates, so it is reported, not served.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        quantized = Path(folder) / "int8.onnx"
        quantize_dynamic(
            model,
            quantized,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": 1, "WeightSymmetric": True},
        )
        wide, wide_seconds = _timed(model, pad_id, trees)
        narrow, narrow_seconds = _timed(quantized, pad_id, trees)
        alike = same_alone(Session(quantized, pad_id=pad_id), trees[:4])
        size = quantized.stat().st_size / model.stat().st_size
    before, after = (labelled_pairs(groups, _by_group(groups, rewards)) for rewards in (wide, narrow))
    flips = np.sign(before.better - before.worse) != np.sign(after.better - after.worse)
    return {
        "rms_error_sd": float(np.sqrt(np.mean((narrow - wide) ** 2)) / max(float(wide.std()), 1e-12)),
        "flip_rate": float(flips.mean()) if len(flips) else None,
        "speedup": wide_seconds / narrow_seconds,
        "size_ratio": size,
        "same_alone": alike,
        "num": len(wide),
    }


def _timed(model: Path, pad_id: int, trees: Sequence[TokenTree]) -> tuple[Rewards, float]:
    session = Session(model, pad_id=pad_id, cache_bytes=0)
    session.run(trees[:2])
    started = time.perf_counter()
    rewards = session.run(trees)
    return rewards, time.perf_counter() - started


def _by_group(groups: "Sequence[PreferenceGroup]", rewards: Rewards) -> list[list[float]]:
    ends = np.cumsum([len(group.responses) for group in groups])
    return [piece.tolist() for piece in np.split(rewards, ends[:-1])]
