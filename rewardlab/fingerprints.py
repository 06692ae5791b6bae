"""Fingerprints of what a model was trained on, so that it is not measured on the same."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from rewardlab.groups import PreferenceGroup, prompt_text

Hashes = npt.NDArray[np.uint64]


def fingerprints(groups: Iterable[PreferenceGroup]) -> Hashes:
    """Return 64-bit hashes, in order and each once, by which a trained-on group is known again.

    A group leaves one for its id and prompt, and one for its prompt and each pair of its responses, in any order. A
    single response under a prompt is none: a data set that has one prompt in all rows compares it with many others.
    Width and case of letters and blanks do not matter.
    """
    return np.unique(np.fromiter((mark for group in groups for mark in _marks(group)), dtype=np.uint64))


def known(groups: Sequence[PreferenceGroup], trained: Hashes) -> list[PreferenceGroup]:
    """Return the groups that share a fingerprint with what was trained on."""
    marks = [np.fromiter(_marks(group), dtype=np.uint64) for group in groups]
    return [group for group, own in zip(groups, marks, strict=True) if np.isin(own, trained).any()]


def _marks(group: PreferenceGroup) -> Iterator[int]:
    prompt = _normal(prompt_text(group.prompt))
    responses = sorted({_normal(text) for text in group.responses})
    yield _hash("id", group.id, prompt)
    for pair in combinations(responses, 2) if len(responses) > 1 else [responses]:
        yield _hash("texts", prompt, *pair)


def _hash(*texts: str) -> int:
    whole = "\0".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8).digest(), "little")


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
