"""Near-duplicates of a reference file: every text whose word 3-shingles have a Jaccard similarity over a threshold.

The search is exact. Two sets of Jaccard similarity t share at least t of the shingles of each, so if all shingles are
put in one order, the first (1 - t) of one set and those of the other have one in common (prefix filter: Chaudhuri,
Ganti, Kaushik, "A Primitive Operator for Similarity Joins in Data Cleaning", ICDE 2006, section 4). Rare shingles come
first, so few sets share one by chance. Only the references are held, in arrays on disk that all processes map.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rewardlab.files import parse_group, read_chunks
from rewardlab.groups import PreferenceGroup, prompt_text
from rewardlab.text import key64, words
from steps.common.parallel import in_order

_WEIGHTS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
_ROUNDING = 1e-9
_NOTHING = np.empty(0, dtype=np.uint64)

Shingles = npt.NDArray[np.uint64]
Texts = Callable[[PreferenceGroup], Sequence[str]]
"""Which texts of a group are compared: a function of a module, so that it can be sent to a process."""


@dataclass(frozen=True, slots=True)
class Match:
    """The reference text that a text is most like, by its place, and how much."""

    reference: int
    similarity: float


def text_of(group: PreferenceGroup) -> str:
    """Return prompt and responses, whatever the order of the responses."""
    return "\n\n".join((prompt_text(group.prompt), *sorted(group.responses)))


def whole(group: PreferenceGroup) -> tuple[str]:
    """Return a group as one text."""
    return (text_of(group),)


def shingles(text: str) -> Shingles:
    """Return 64-bit hashes of the word 3-shingles of a text, sorted and each once; fewer words are one shingle.

    Example:
        >>> len(shingles("The cat, the dog!"))
        2
    """
    terms = words(text)
    hashes = np.zeros(max(3, len(terms)), dtype=np.uint64)
    hashes[: len(terms)] = np.fromiter(map(_word, terms), dtype=np.uint64, count=len(terms))
    found = hashes[:-2] * _WEIGHTS[0] + hashes[1:-1] * _WEIGHTS[1] + hashes[2:] * _WEIGHTS[2]
    found.sort()
    return np.concatenate((found[:1], found[1:][found[1:] != found[:-1]]))


def jaccard(one: Shingles, other: Shingles) -> float:
    """Return the share of common shingles."""
    common = np.intersect1d(one, other, assume_unique=True).size
    return float(common / (one.size + other.size - common))


def write_index(source: Path, folder: Path, *, threshold: float, texts: Texts = whole) -> list[str]:
    """Index the texts of a file's groups in a new folder; return each text's group, by its id."""
    folder.mkdir()
    ids: list[str] = []
    sizes = [0]
    counts = np.zeros(source.stat().st_size // 2 + 1, dtype=np.uint32)  # about as many as there are shingles
    with (folder / "shingles.bin").open("wb") as file:
        for _, sets in in_order(partial(_sets, texts), read_chunks(source), label="shingles"):
            ids += [name for name, _ in sets]
            sizes += [hashes.size for _, hashes in sets]
            found = np.concatenate([_NOTHING, *(hashes for _, hashes in sets)])
            found.tofile(file)
            np.add.at(counts, _bucket(found, counts.size), 1)
    np.save(folder / "starts.npy", np.cumsum(sizes))
    np.save(folder / "counts.npy", np.minimum(counts, 255).astype(np.uint8))
    begin = partial(_prefixes, folder / "counts.npy", threshold, texts)
    prefixes = [each for _, found in in_order(begin, read_chunks(source), label="index") for each in found]
    hashes = np.concatenate([_NOTHING, *prefixes])
    order = np.argsort(hashes, kind="stable")
    owners = np.repeat(np.arange(len(prefixes), dtype=np.uint32), np.array([each.size for each in prefixes], int))
    np.save(folder / "hashes.npy", hashes[order])
    np.save(folder / "owners.npy", owners[order])
    return ids


def find(folder: Path, threshold: float, lines: Sequence[bytes]) -> list[Match | None]:
    """Return, for each group of a chunk, the most similar reference of an index, if any is."""
    return [closest(folder, threshold, whole(parse_group(line))) for line in lines]


def closest(folder: Path, threshold: float, texts: Sequence[str]) -> Match | None:
    """Return the reference of an index that any of the texts is most like (of equals the first), if any is."""
    index = _open(folder)
    found = (match for text in texts if (match := index.match(shingles(text), threshold)))
    return max(found, key=lambda match: match.similarity, default=None)


class _Index:
    """An index that `write_index` made, mapped into memory."""

    def __init__(self, folder: Path) -> None:
        self._counts, self._starts = _load(folder / "counts.npy"), _load(folder / "starts.npy")
        self._hashes, self._owners = _load(folder / "hashes.npy"), _load(folder / "owners.npy")
        path = folder / "shingles.bin"  # an empty file cannot be mapped
        self._shingles: Shingles = np.memmap(path, dtype=np.uint64, mode="r") if path.stat().st_size else _NOTHING

    def match(self, hashes: Shingles, threshold: float) -> Match | None:
        prefix = _prefix(self._counts, hashes, threshold)
        candidates = self._candidates(prefix[self._counts[_bucket(prefix, self._counts.size)] > 0])
        if not candidates.size:
            return None
        sizes = self._starts[candidates + 1] - self._starts[candidates]
        alike = np.minimum(sizes, hashes.size) >= threshold * np.maximum(sizes, hashes.size) - _ROUNDING
        matches = (Match(at, jaccard(hashes, self._reference(at))) for at in candidates[alike].tolist())
        best = max(matches, key=lambda match: match.similarity, default=None)
        return best if best is not None and best.similarity >= threshold else None

    def _candidates(self, prefix: Shingles) -> npt.NDArray[np.int64]:
        """Return the references that share a shingle of the prefixes, in order."""
        wanted = np.sort(prefix)
        first = self._hashes.searchsorted(wanted)
        there = first < self._hashes.size
        there[there] = self._hashes[first[there]] == wanted[there]
        if not there.any():
            return np.empty(0, dtype=np.int64)
        last = self._hashes.searchsorted(wanted[there], "right")
        owners = [self._owners[low:high] for low, high in zip(first[there], last, strict=True)]
        return np.unique(np.concatenate(owners)).astype(np.int64)

    def _reference(self, at: int) -> Shingles:
        return self._shingles[self._starts[at] : self._starts[at + 1]]


@lru_cache(maxsize=2)
def _open(folder: Path) -> _Index:
    return _Index(folder)


def _load(path: Path) -> npt.NDArray[Any]:
    return np.asarray(np.load(path, mmap_mode="r"))


def _sets(texts: Texts, lines: Sequence[bytes]) -> list[tuple[str, Shingles]]:
    groups = map(parse_group, lines)
    return [(group.id, shingles(text)) for group in groups for text in texts(group)]


def _prefixes(counts: Path, threshold: float, texts: Texts, lines: Sequence[bytes]) -> list[Shingles]:
    known = _load(counts)
    return [_prefix(known, hashes, threshold) for _, hashes in _sets(texts, lines)]


def _prefix(counts: npt.NDArray[np.uint8], hashes: Shingles, threshold: float) -> Shingles:
    """Return the first shingles of a set, of which one is among the first of every set that is similar enough."""
    num = hashes.size - math.ceil(threshold * hashes.size - _ROUNDING) + 1
    return hashes[np.argsort(counts[_bucket(hashes, counts.size)], kind="stable")[:num]]


def _bucket(hashes: Shingles, num: int) -> Shingles:
    """Return under which number a shingle's occurrences are counted: an order needs no exact counts."""
    return hashes % np.uint64(num)


@lru_cache(maxsize=2**16)
def _word(word: str) -> int:
    return key64(word)
