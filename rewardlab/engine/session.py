"""ONNX Runtime behind one function: token trees in, rewards out."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from rewardlab.cores import num_cores
from rewardlab.engine.prompts import PromptCache
from rewardlab.readout import LENGTH_MULTIPLE
from rewardlab.tokens import TokenTree

TOKEN_BUDGET = 640
"""Padded tokens in one forward pass: on CPU larger batches are slower, not faster, and hold more memory."""
PADDING, FEW_TOKENS = 0.05, 128
"""Share of padding a batch may hold once it has this many tokens; a smaller one is dominated by reading the weights."""
SHRINK_EVERY, LONG = 32, 512
"""After so many passes, and after a row of more tokens, memory that ONNX Runtime keeps for other shapes is let go."""
CACHE_BYTES = 2**28
"""Keys and values of prompts that are kept: 46 KB a token for SmolLM2-135M in fp32."""

Device = Literal["cpu", "cuda"]
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ARENAS = {"cpu": "cpu:0", "cuda": "gpu:0"}

Ids = Sequence[int]


@dataclass(frozen=True, slots=True)
class Past:
    """What a prompt left behind for its responses: `length` real positions in each of the values, which are padded."""

    length: int
    values: tuple[Any, ...]


class Session:
    """Runs a reward model's graph on token trees. Safe to share by threads.

    Its inputs are `input_ids` [B, T] and `lengths` [B], its outputs `rewards` [B] and, where the model has A aspects,
    `aspects` [B, A].
    A graph with inputs `past.*` reads each distinct prompt once, alone in its pass, and its responses against what that
    left behind; other graphs read `prompt + response` in one row. Either way a reward depends on prompt and response
    alone, to the bit: rows are padded to multiples of 8, and nothing adds over rows.

    Args:
        model: the graph.
        pad_id: any id; padding is out of sight.
        threads: for one forward pass; by default as many as the cores that this process may use.
        cache_bytes: for prompts that are kept between calls.
        device: "cpu", or "cuda" with onnxruntime-gpu: keys and values then stay on the device, and kernels that depend
            on the shape of a batch may move the last bits.

    Raises:
        ValueError: there is no such device here.
    """

    def __init__(
        self,
        model: Path,
        *,
        pad_id: int,
        threads: int | None = None,
        cache_bytes: int = CACHE_BYTES,
        device: Device = "cpu",
    ) -> None:
        self._session = _open(model, threads, device)
        self._keeping, self._shrinking = onnxruntime.RunOptions(), onnxruntime.RunOptions()
        self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", _ARENAS[device])
        self._num_passes = 0
        self._pad_id = pad_id
        self._device = device
        scores = [each for each in self._session.get_outputs() if each.name in ("rewards", "aspects")]
        self._score_names = [each.name for each in scores]
        self._num_outputs = sum(each.shape[1] if len(each.shape) > 1 else 1 for each in scores)
        shared = [each for each in self._session.get_inputs() if each.name.startswith("past.")]
        self.shares_prompts = bool(shared)
        self._past_names = [each.name for each in shared]
        self._present_names = [each.name.replace("past.", "present.", 1) for each in shared]
        self._nothing = Past(0, tuple(_empty(each) for each in shared))
        self.prompts: PromptCache[Past] = PromptCache(cache_bytes, _num_bytes)
        self.num_tokens, self.num_padded_tokens = 0, 0
        self._counting = threading.Lock()

    def run(
        self, trees: Sequence[TokenTree], on_progress: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the reward of each response, tree after tree, in the order given."""
        return self.outputs(trees, on_progress)[:, 0]

    def outputs(
        self, trees: Sequence[TokenTree], on_progress: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return of each response its reward, and behind it that of each aspect: [N, 1 + A]."""
        found = np.empty((sum(len(tree.responses) for tree in trees), self._num_outputs), dtype=np.float32)
        for prompt, places in self._by_prompt(trees).items():
            for batch in _batches(list(places)):
                for row, scored in zip(batch, self._score(prompt, batch), strict=True):
                    found[places[row]] = scored
                if on_progress:
                    on_progress(sum(len(places[row]) for row in batch))
        return found

    def feeds(self, tree: TokenTree) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield the inputs of each pass over a tree, for tools that run the graph themselves."""
        for prompt, places in self._by_prompt([tree]).items():
            if prompt:
                yield self._feed([prompt], self._nothing)
            yield self._feed(list(places), self._past(prompt))

    def _feed(self, rows: Sequence[Ids], past: Past) -> dict[str, npt.NDArray[Any]]:
        """Return the inputs of one pass over rows, behind the keys and values of a prompt."""
        ids, lengths = _pad(rows, self._pad_id)
        feed: dict[str, npt.NDArray[Any]] = {"input_ids": ids, "lengths": lengths}
        if self.shares_prompts:
            feed["past_length"] = np.array(past.length)
        for name, value in zip(self._past_names, past.values, strict=True):
            feed[name] = value.numpy()
        return feed

    def _by_prompt(self, trees: Sequence[TokenTree]) -> dict[Ids, dict[Ids, list[int]]]:
        """Return for each distinct prompt its distinct responses and their places; none is read twice."""
        found: dict[Ids, dict[Ids, list[int]]] = {}
        place = 0
        for tree in trees:
            for response in tree.responses:
                prompt, row = (tree.prompt, response) if self.shares_prompts else ((), tree.prompt + response)
                found.setdefault(prompt, {}).setdefault(row, []).append(place)
                place += 1
        return found

    def _score(self, prompt: Ids, rows: Sequence[Ids]) -> npt.NDArray[np.float32]:
        found = self._forward(rows, self._past(prompt), self._score_names)
        return np.column_stack([each.numpy() for each in found])

    def _past(self, prompt: Ids) -> Past:
        return self.prompts.get(tuple(prompt), lambda: self._read(prompt)) if prompt else self._nothing

    def _read(self, prompt: Ids) -> Past:
        return Past(len(prompt), tuple(self._forward([prompt], self._nothing, self._present_names)))

    def _forward(self, rows: Sequence[Ids], past: Past, outputs: Sequence[str]) -> list[Any]:
        """Run the graph; keys and values stay where they are computed."""
        ids, lengths = _pad(rows, self._pad_id)
        with self._counting:
            self.num_tokens += int(lengths.sum())
            self.num_padded_tokens += ids.size
            self._num_passes += 1
            shrinks = self._num_passes % SHRINK_EVERY == 0 or ids.shape[1] > LONG
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("lengths", lengths)
        if self.shares_prompts:
            binding.bind_cpu_input("past_length", np.array(past.length))
        for name, value in zip(self._past_names, past.values, strict=True):
            binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, "cpu" if name in self._score_names else self._device)
        self._session.run_with_iobinding(binding, self._shrinking if shrinks else self._keeping)
        found: list[Any] = binding.get_outputs()
        return found


def _open(model: Path, threads: int | None, device: Device) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or num_cores()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    wanted, offered = _PROVIDERS[device], onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(str(model), options, providers=[wanted] if wanted in offered else None)
    if wanted not in session.get_providers():  # what it falls back to computes too, only elsewhere
        raise ValueError(f"device {device!r} is not usable here: ONNX Runtime offers {', '.join(offered)}")
    return session


def _empty(given: onnxruntime.NodeArg) -> onnxruntime.OrtValue:
    """Return what an empty prompt leaves behind: a tensor without positions."""
    kind = np.float16 if given.type == "tensor(float16)" else np.float32
    shape = [size if isinstance(size, int) else 0 for size in given.shape]
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype=kind))


def _num_bytes(past: Past) -> int:
    return sum(value.tensor_size_in_bytes() for value in past.values)


def _batches(rows: Sequence[Ids]) -> Iterator[list[Ids]]:
    """Yield the rows in batches of like length, within the token budget and with little padding."""
    batch: list[Ids] = []
    real = 0
    for row in sorted(rows, key=len):
        padded = (len(batch) + 1) * _padded(len(row))
        loose = padded > FEW_TOKENS and padded * (1 - PADDING) > real + _padded(len(row))
        if batch and (padded > TOKEN_BUDGET or loose):
            yield batch
            batch, real = [], 0
        batch.append(row)
        real += _padded(len(row))
    yield batch


def _padded(length: int) -> int:
    return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def _pad(rows: Sequence[Ids], pad_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ids = np.full((len(rows), _padded(int(lengths.max()))), pad_id, dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    return ids, lengths
