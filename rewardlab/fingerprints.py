"""Fingerprints of what a model was trained on, so that it is not measured on the same."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from rewardlab.groups import PreferenceGroup, prompt_text
from rewardlab.text import key64, normal

Hashes = npt.NDArray[np.uint64]


def fingerprints(groups: Iterable[PreferenceGroup]) -> Hashes:
    """Return 64-bit hashes, in order and each once, by which a trained-on group is known again.

    A group leaves one for its id and prompt, and one for its prompt and each pair of its responses, in any order. A
    single response under a prompt is none: a data set that has one prompt in all rows compares it with many others.
    Texts are compared in their normal form.
    """
    return np.unique(_hashes(mark for group in groups for mark in _marks(group)))


def known(groups: Sequence[PreferenceGroup], trained: Hashes) -> list[PreferenceGroup]:
    """Return the groups that share a fingerprint with what was trained on."""
    marks = [_hashes(_marks(group)) for group in groups]
    return [group for group, own in zip(groups, marks, strict=True) if np.isin(own, trained).any()]


def _marks(group: PreferenceGroup) -> Iterator[int]:
    """Yield the keys of a group: of its id, and of each pair of its responses."""
    prompt = normal(prompt_text(group.prompt))
    responses = sorted({normal(text) for text in group.responses})
    yield key64("\0".join(("id", group.id, prompt)))
    for pair in combinations(responses, 2) if len(responses) > 1 else [responses]:
        yield key64("\0".join(("texts", prompt, *pair)))


def _hashes(keys: Iterable[int]) -> Hashes:
    """Return keys in the order of bytes that sealed bundles hold them in."""
    return np.fromiter(keys, dtype=np.uint64).byteswap()
