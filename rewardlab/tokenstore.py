"""Token trees on disk: memory-mapped, so that a million groups cost no memory."""

import json
from collections.abc import Iterable, Sequence
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


def write_store(folder: Path, rows: Iterable[tuple[PreferenceGroup, TokenTree]], *, aspect: str) -> int:
    """Write groups and their trees to a new folder; return the number of groups.

    Args:
        folder: is made.
        rows: a group and its token tree.
        aspect: the objective to learn: its scores, and comparisons of it or of none in particular, are kept.
    """
    folder.mkdir(parents=True)
    names: list[str] = []
    segments, starts, comparison_starts = [0], [0], [0]
    with (
        (folder / "ids.bin").open("wb") as ids,
        (folder / "scores.bin").open("wb") as scores,
        (folder / "comparisons.bin").open("wb") as comparisons,
    ):
        for group, tree in rows:
            names.append(group.id)
            for piece in (tree.prompt, *tree.responses):
                np.asarray(piece, dtype="<i4").tofile(ids)
                segments.append(segments[-1] + len(piece))
            starts.append(len(segments) - 1)
            missing = (float("nan"),) * len(group.responses)
            np.asarray((float("nan"), *group.scores.get(aspect, missing)), dtype="<f8").tofile(scores)
            kept = _labels(group.comparisons, aspect)
            kept.tofile(comparisons)
            comparison_starts.append(comparison_starts[-1] + len(kept))
    for name, offsets in (("segments", segments), ("starts", starts), ("comparison_starts", comparison_starts)):
        np.asarray(offsets, dtype="<i8").tofile(folder / f"{name}.bin")
    write_json(folder / "groups.json", names)
    return len(names)


def _labels(comparisons: Sequence[Comparison], aspect: str) -> npt.NDArray[np.void]:
    rows = [
        (entry.better, entry.worse, entry.strength, float("nan") if entry.margin is None else entry.margin)
        for entry in comparisons
        if entry.aspect in (None, aspect)
    ]
    return np.array(rows, dtype=_COMPARISON)


def _open(path: Path, dtype: np.dtype) -> npt.NDArray:  # type: ignore[type-arg]
    """Map a raw array; an empty file cannot be mapped and is an empty array."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype=dtype)
