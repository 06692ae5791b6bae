"""Near-duplicate texts: MinHash finds the candidates, the true Jaccard similarity of word 3-shingles decides."""

import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

THRESHOLD = 0.8
_NET = 0.5  # LSH looks below the threshold: 128 permutations then miss a pair of similarity 0.8 about once in 10,000
_PERMUTATIONS = 128
_LINE_SECONDS = 5.0
_WORD = re.compile(r"\w+")

Shingles = frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Match:
    """The reference that a text is most like, by its place, and how much."""

    reference: int
    similarity: float


def shingles(text: str, *, size: int = 3) -> Shingles:
    """Return the word 3-shingles of a text; fewer words are one shingle.

    Example:
        >>> sorted(shingles("The cat, the dog!"))
        [b'cat the dog', b'the cat the']
    """
    words = _WORD.findall(text.casefold())
    last = max(len(words) - size, 0)
    return frozenset(" ".join(words[start : start + size]).encode() for start in range(last + 1))


def jaccard(one: Shingles, other: Shingles) -> float:
    """Return the share of common shingles."""
    return len(one & other) / len(one | other)


def near_duplicates(
    texts: Sequence[str], references: Sequence[str], *, threshold: float = THRESHOLD
) -> dict[int, Match]:
    """Return, for each text that is like a reference, the most similar one (of equals the first)."""
    from datasketch import MinHash, MinHashLSH

    if not texts or not references:
        return {}
    targets = [shingles(text) for text in references]
    index = MinHashLSH(threshold=min(_NET, threshold), num_perm=_PERMUTATIONS)
    for place, hashes in enumerate(MinHash.generator(targets, num_perm=_PERMUTATIONS, seed=1)):
        index.insert(place, hashes)
    found: dict[int, Match] = {}
    sets = [shingles(text) for text in texts]
    hashed = MinHash.generator(sets, num_perm=_PERMUTATIONS, seed=1)
    for place, hashes in enumerate(_shown(hashed, len(sets))):
        matches = [Match(other, jaccard(sets[place], targets[other])) for other in sorted(index.query(hashes))]
        best = max(matches, key=lambda match: match.similarity, default=None)
        if best is not None and best.similarity >= threshold:
            found[place] = best
    return found


def _shown(items: Iterable[Any], total: int) -> Iterator[Any]:
    """Show progress: a bar on a terminal, a line every 5 s elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, "near-duplicates", total)
        return
    due = time.monotonic() + _LINE_SECONDS
    for done, item in enumerate(items):
        if time.monotonic() >= due:
            print(f"near-duplicates: {done} of {total}", file=sys.stderr, flush=True)
            due = time.monotonic() + _LINE_SECONDS
        yield item
