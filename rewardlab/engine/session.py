"""ONNX Runtime behind one function: token sequences in, rewards out."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from rewardlab.readout import LENGTH_MULTIPLE

Sequences = Sequence[Sequence[int]]
TOKEN_BUDGET = 2048
"""Padded tokens in one forward pass: on CPU larger batches are slower, not faster."""


class Session:
    """Runs a reward model's graph: `input_ids` [B, T] and `lengths` [B] (int64) to `rewards` [B] (float32).

    Where the model has A aspects, the graph returns `aspects` [B, A] as well.
    """

    def __init__(self, model: Path, *, pad_id: int, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._pad_id = pad_id

    def run(self, sequences: Sequences, on_progress: Callable[[int], object] | None = None) -> npt.NDArray[np.float32]:
        """Return the reward of each sequence, in the order given."""
        return self.outputs(sequences, on_progress)[:, 0]

    def outputs(
        self, sequences: Sequences, on_progress: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return of each sequence its reward, and behind it that of each aspect: [N, 1 + A]."""
        names = [output.name for output in self._session.get_outputs()]
        num_aspects = self._session.get_outputs()[1].shape[1] if "aspects" in names else 0
        found = np.empty((len(sequences), 1 + num_aspects), dtype=np.float32)
        for rows in _batches(sequences):
            ids, lengths = _pad([sequences[row] for row in rows], self._pad_id)
            rewards, *aspects = self._session.run(names, {"input_ids": ids, "lengths": lengths}, self._run_options)
            found[rows] = np.column_stack([rewards, *aspects])
            if on_progress:
                on_progress(len(rows))
        return found


def _batches(sequences: Sequences) -> Iterator[list[int]]:
    """Yield row numbers in batches of like length, each within the token budget."""
    batch: list[int] = []
    for row in sorted(range(len(sequences)), key=lambda row: len(sequences[row])):
        if batch and (len(batch) + 1) * len(sequences[row]) > TOKEN_BUDGET:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _pad(sequences: Sequences, pad_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    padded = -(-int(lengths.max()) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    ids = np.full((len(sequences), padded), pad_id, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    return ids, lengths
