"""Token trees on disk: memory-mapped, so that a million groups cost no memory."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rewardlab.files import read_json, write_json
from rewardlab.groups import Comparison, PreferenceGroup
from rewardlab.tokens import TokenTree

_COMPARISON = np.dtype(
    [("better", "<i4"), ("worse", "<i4"), ("strength", "<f8"), ("margin", "<f8"), ("aspect", "<i4")],
)
"""`aspect` is the number of its name in `aspects.json`, or -1."""
_VALUES = ("ids", "scores", "comparisons", "weights", "originals")
_OFFSETS = {"segments": "lengths", "starts": "num_pieces", "comparison_starts": "num_comparisons"}
"""Files of where things begin, and which lengths they add up."""


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """One group's ids and labels; `scores` holds the aspects that it has ratings of.

    `original` is the response that the last one rewords, or -1.
    """

    id: str
    prompt: npt.NDArray[np.int32]
    responses: tuple[npt.NDArray[np.int32], ...]
    comparisons: tuple[Comparison, ...]
    scores: Mapping[str, tuple[float, ...]]
    weight: float
    original: int = -1


class TokenStore:
    """Reads a folder that `write_store` made. A sequence of `StoredGroup`."""

    def __init__(self, folder: Path) -> None:
        self._names: list[str] = json.loads((folder / "groups.json").read_text(encoding="utf-8"))
        self.aspects: tuple[str, ...] = tuple(read_json(folder / "aspects.json"))
        self._ids = _open(folder / "ids.bin", np.dtype("<i4"))
        self._segments = _open(folder / "segments.bin", np.dtype("<i8"))
        self._starts = _open(folder / "starts.bin", np.dtype("<i8"))
        self._comparisons = _open(folder / "comparisons.bin", _COMPARISON)
        self._comparison_starts = _open(folder / "comparison_starts.bin", np.dtype("<i8"))
        self._scores = _open(folder / "scores.bin", np.dtype("<f8")).reshape(-1, len(self.aspects))
        self._weights = _open(folder / "weights.bin", np.dtype("<f8"))
        self._originals = _open(folder / "originals.bin", np.dtype("<i4"))

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
                aspect=None if row["aspect"] < 0 else self.aspects[row["aspect"]],
            )
            for row in rows
        )
        scores = {
            name: tuple(column.tolist())
            for name, column in zip(self.aspects, self._scores[first + 1 : last].T, strict=True)
            if not np.isnan(column).any()
        }
        weight = float(self._weights[index])
        original = int(self._originals[index])
        return StoredGroup(self._names[index], pieces[0], tuple(pieces[1:]), comparisons, scores, weight, original)


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
    weights: npt.NDArray[np.float64]
    originals: npt.NDArray[np.int32]


def pack_trees(
    rows: Iterable[tuple[PreferenceGroup, TokenTree]], *, aspects: Sequence[str], originals: Sequence[int] = ()
) -> Packed:
    """Return groups and their trees as arrays.

    Args:
        rows: a group and its token tree.
        originals: for each group the response that its last one rewords, or -1; by default none does.
        aspects: the objectives to learn: their scores, and comparisons of them or of none in particular, are kept.
    """
    names: list[str] = []
    ids: list[int] = []
    lengths: list[int] = []
    num_pieces: list[int] = []
    num_comparisons: list[int] = []
    comparisons: list[tuple[int, int, float, float, int]] = []
    scores: list[npt.NDArray[np.float64]] = []
    weights: list[float] = []
    for group, tree in rows:
        names.append(group.id)
        pieces = (tree.prompt, *tree.responses)
        for piece in pieces:
            ids += piece
        lengths += map(len, pieces)
        num_pieces.append(len(pieces))
        labels = _labels(group.comparisons, aspects)
        comparisons += labels
        num_comparisons.append(len(labels))
        scores.append(_ratings(group, aspects))
        weights.append(group.weight)
    return Packed(
        names,
        np.array(ids, dtype="<i4"),
        np.array(lengths, dtype="<i8"),
        np.array(num_pieces, dtype="<i8"),
        np.array(comparisons, dtype=_COMPARISON),
        np.array(num_comparisons, dtype="<i8"),
        np.concatenate([np.empty((0, len(aspects)), dtype="<f8"), *scores]),
        np.array(weights, dtype="<f8"),
        np.array(originals or [-1] * len(names), dtype="<i4"),
    )


def write_store(folder: Path, chunks: Iterable[Packed], *, aspects: Sequence[str]) -> int:
    """Write chunks, all packed with these aspects, to a new folder; return the number of groups."""
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
    write_json(folder / "aspects.json", list(aspects))
    return len(names)


def _labels(comparisons: Sequence[Comparison], aspects: Sequence[str]) -> list[tuple[int, int, float, float, int]]:
    numbers = {name: number for number, name in enumerate(aspects)} | {None: -1}
    return [
        (entry.better, entry.worse, entry.strength, math.nan if entry.margin is None else entry.margin, number)
        for entry in comparisons
        if (number := numbers.get(entry.aspect)) is not None
    ]


def _ratings(group: PreferenceGroup, aspects: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return a row for the prompt and for each response, a column for each aspect; NaN where there is no rating."""
    ratings = np.full((1 + len(group.responses), len(aspects)), np.nan)
    for number, name in enumerate(aspects):
        if name in group.scores:
            ratings[1:, number] = group.scores[name]
    return ratings


def _open(path: Path, dtype: np.dtype) -> npt.NDArray:  # type: ignore[type-arg]
    """Map a raw array; an empty file cannot be mapped and is an empty array."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype=dtype)
