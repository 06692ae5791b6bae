"""Token trees on disk: memory-mapped, so that a million groups cost no memory."""

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rewardlab.files import write_json
from rewardlab.groups import Comparison, PreferenceGroup
from rewardlab.tokens import TokenTree

_COMPARISON = np.dtype(
    [("better", "<i4"), ("worse", "<i4"), ("strength", "<f8"), ("margin", "<f8")],
)
_VALUES = ("ids", "scores", "comparisons")
_OFFSETS = {"segments": "lengths", "starts": "num_pieces", "comparison_starts": "num_comparisons"}
"""Files of where things begin, and which lengths they add up."""


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """One group's ids and labels; `scores` is None when there are none."""

    id: str
    prompt: npt.NDArray[np.int32]
    responses: tuple[npt.NDArray[np.int32], ...]
    comparisons: tuple[Comparison, ...]
    scores: tuple[float, ...] | None


class TokenStore:
    """Reads a folder that `write_store` made. A sequence of `StoredGroup`."""

    def __init__(self, folder: Path) -> None:
        self._names: list[str] = json.loads((folder / "groups.json").read_text(encoding="utf-8"))
        self._ids = _open(folder / "ids.bin", np.dtype("<i4"))
        self._segments = _open(folder / "segments.bin", np.dtype("<i8"))
        self._starts = _open(folder / "starts.bin", np.dtype("<i8"))
        self._comparisons = _open(folder / "comparisons.bin", _COMPARISON)
        self._comparison_starts = _open(folder / "comparison_starts.bin", np.dtype("<i8"))
        self._scores = _open(folder / "scores.bin", np.dtype("<f8"))

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._names)

    @property
    def num_tokens(self) -> int:
        """Return the tokens of all trees, each prompt counted once."""
        return len(self._ids)

    def __getitem__(self, index: int) -> StoredGroup:
        """Return one group; ids stay on disk until they are read."""
        first, last = int(self._starts[index]), int(self._starts[index + 1])
        pieces = [self._ids[self._segments[at] : self._segments[at + 1]] for at in range(first, last)]
        rows = self._comparisons[self._comparison_starts[index] : self._comparison_starts[index + 1]]
        comparisons = tuple(
            Comparison(
                better=int(row["better"]),
                worse=int(row["worse"]),
                strength=float(row["strength"]),
                margin=None if np.isnan(row["margin"]) else float(row["margin"]),
            )
            for row in rows
        )
        scores = tuple(float(score) for score in self._scores[first + 1 : last])
        known = None if np.isnan(scores).any() else scores
        return StoredGroup(self._names[index], pieces[0], tuple(pieces[1:]), comparisons, known)


@dataclass(frozen=True, slots=True)
class Packed:
    """A chunk of groups and their trees, as they are written; `num_pieces` counts the prompt too."""

    names: list[str]
    ids: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]
    num_pieces: npt.NDArray[np.int64]
    comparisons: npt.NDArray[np.void]
    num_comparisons: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


def pack_trees(rows: Iterable[tuple[PreferenceGroup, TokenTree]], *, aspect: str) -> Packed:
    """Return groups and their trees as arrays.

    Args:
        rows: a group and its token tree.
        aspect: the objective to learn: its scores, and comparisons of it or of none in particular, are kept.
    """
    names: list[str] = []
    ids: list[int] = []
    lengths: list[int] = []
    num_pieces: list[int] = []
    num_comparisons: list[int] = []
    comparisons: list[tuple[int, int, float, float]] = []
    scores: list[float] = []
    for group, tree in rows:
        names.append(group.id)
        pieces = (tree.prompt, *tree.responses)
        for piece in pieces:
            ids += piece
        lengths += map(len, pieces)
        num_pieces.append(len(pieces))
        labels = _labels(group.comparisons, aspect)
        comparisons += labels
        num_comparisons.append(len(labels))
        scores += (math.nan, *group.scores.get(aspect, (math.nan,) * len(group.responses)))
    return Packed(
        names,
        np.array(ids, dtype="<i4"),
        np.array(lengths, dtype="<i8"),
        np.array(num_pieces, dtype="<i8"),
        np.array(comparisons, dtype=_COMPARISON),
        np.array(num_comparisons, dtype="<i8"),
        np.array(scores, dtype="<f8"),
    )


def write_store(folder: Path, chunks: Iterable[Packed]) -> int:
    """Write chunks to a new folder, one behind the other; return the number of groups."""
    folder.mkdir(parents=True)
    names: list[str] = []
    with ExitStack() as files:
        open_ = {name: files.enter_context((folder / f"{name}.bin").open("wb")) for name in (*_VALUES, *_OFFSETS)}
        ends = dict.fromkeys(_OFFSETS, 0)
        for name in _OFFSETS:
            np.zeros(1, dtype="<i8").tofile(open_[name])
        for chunk in chunks:
            names += chunk.names
            for name in _VALUES:
                getattr(chunk, name).tofile(open_[name])
            for name, counts in _OFFSETS.items():
                offsets = ends[name] + np.cumsum(getattr(chunk, counts), dtype="<i8")
                offsets.tofile(open_[name])
                ends[name] = offsets[-1]
    write_json(folder / "groups.json", names)
    return len(names)


def _labels(comparisons: Sequence[Comparison], aspect: str) -> list[tuple[int, int, float, float]]:
    return [
        (entry.better, entry.worse, entry.strength, math.nan if entry.margin is None else entry.margin)
        for entry in comparisons
        if entry.aspect in (None, aspect)
    ]


def _open(path: Path, dtype: np.dtype) -> npt.NDArray:  # type: ignore[type-arg]
    """Map a raw array; an empty file cannot be mapped and is an empty array."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype=dtype)
