"""How far length alone explains the labels: a Bradley-Terry model of the lengths of two responses."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rewardlab.groups import Comparison

Floats = npt.NDArray[np.float64]
Labelled = tuple[Sequence[int], Sequence[Comparison]]
"""The lengths of a group's responses in tokens, and its comparisons."""

_STEPS, _RIDGE = 50, 1e-3


@dataclass(frozen=True, slots=True)
class LengthBias:
    """P(a wins) = sigmoid(log_ratio * log(length of a / length of b) + longer * sign(length of a - length of b))."""

    log_ratio: float = 0.0
    longer: float = 0.0

    def offsets(self, lengths: Sequence[int], comparisons: Sequence[Comparison]) -> tuple[float, ...]:
        """Return the logit of each comparison's better response winning for its length."""
        rows = _rows(lengths, comparisons)
        return tuple((rows @ [self.log_ratio, self.longer]).tolist())


def fit_length_bias(groups: Iterable[Labelled]) -> LengthBias:
    """Return the maximum-likelihood model of labels by length alone, each group counting once.

    Newton's method on the cross-entropy of the strengths, with a ridge so weak that it decides only where all labels
    follow length; without comparisons nothing follows from length.
    """
    rows, strengths, weights = [np.empty((0, 2))], [0.0][:0], [0.0][:0]
    for lengths, comparisons in groups:
        rows.append(_rows(lengths, comparisons))
        strengths += [entry.strength for entry in comparisons]
        weights += [1.0 / len(comparisons)] * len(comparisons)
    matrix, strength, weight = np.concatenate(rows), np.array(strengths), np.array(weights)
    found = np.zeros(2)
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-matrix @ found))
        gradient = matrix.T @ (weight * (chance - strength)) + _RIDGE * found
        curvature = (matrix.T * (weight * chance * (1.0 - chance))) @ matrix + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        found -= step / max(1.0, float(np.abs(step).max()))
    return LengthBias(*found.tolist())


def _rows(lengths: Sequence[int], comparisons: Sequence[Comparison]) -> Floats:
    """Return log(better / worse) and sign(better - worse) of each comparison's lengths."""
    known = np.log(np.asarray(lengths, dtype=np.float64))
    pairs = np.array([(entry.better, entry.worse) for entry in comparisons], dtype=np.int64).reshape(-1, 2)
    ratio = known[pairs[:, 0]] - known[pairs[:, 1]]
    return np.stack([ratio, np.sign(ratio)], axis=1)
