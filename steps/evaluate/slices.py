"""Accuracy in parts: by subset and grade, by how sure the model is, by length, and by where the data come from."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import PairTable, accuracy, labelled_pairs, scored_pairs
from rewardlab.reports import Slice, Subset
from steps.common.scores import Rewards
from steps.common.statistics import chance_p_value, holm

_LENGTHS = (0, 100, 200, 500, 1000, 2000)
"""Characters at which a bucket of lengths begins; fixed, so that versions and test sets can be held side by side."""
_NEAR = 0.1
"""Lengths that differ by less than this share of the longer one count as alike."""


def by_subset(groups: Sequence[PreferenceGroup], rewards: Rewards, aspect: str) -> dict[str, Subset]:
    """Return each subset's accuracies, whether it is above chance, and accuracy by grade of difficulty.

    `p_holm` is for "no better than chance", against the ratings where there are any, else the comparisons, and
    corrected for the number of subsets.
    """
    names = sorted({group.subset for group in groups if group.subset})
    subsets = []
    p_values = []
    for name in names:
        chosen = [(group, given) for group, given in zip(groups, rewards, strict=True) if group.subset == name]
        labelled, rated = _pairs(chosen, aspect)
        p_values.append(chance_p_value(rated if len(rated.better) else labelled))
        grades = sorted({grade for group, _ in chosen if (grade := group.meta.get("grade"))})
        by_grade = {
            grade: accuracy(_pairs([row for row in chosen if row[0].meta.get("grade") == grade], aspect)[1])
            for grade in grades
        }
        subsets.append(Subset(accuracy=accuracy(labelled), accuracy_gold=accuracy(rated), grades=by_grade))
    return {
        name: replace(subset, p_holm=p_value)
        for name, subset, p_value in zip(names, subsets, holm(p_values), strict=True)
    }


def slices(groups: Sequence[PreferenceGroup], pairs: PairTable) -> dict[str, tuple[Slice, ...]]:
    """Return accuracy by part, the parts in order; the labels' ties are left out.

    `margin`: tenths of the comparisons by the difference of the two rewards, the least sure first. `length`: characters
    of the longer response. `longer`: whether the better response is the longer one. `domain`: the groups' `domain`, or
    else their source.
    """
    decided = pairs.strength > 0.5
    pairs = pairs.select(decided)
    lengths = np.array(
        [
            (len(group.responses[entry.better]), len(group.responses[entry.worse]))
            for group in groups
            for entry in group.comparisons
        ]
    ).reshape(-1, 2)[decided]
    domain = np.array([group.meta.get("domain") or group.source for group in groups for _ in group.comparisons])[
        decided
    ]
    return {
        "margin": _by_margin(pairs),
        "length": _by_length(pairs, lengths.max(axis=1, initial=0)),
        "longer": _by_longer(pairs, lengths),
        "domain": tuple(_part(name, pairs, domain == name) for name in sorted({*domain.tolist()} - {""})),
    }


def _by_margin(pairs: PairTable) -> tuple[Slice, ...]:
    margin = np.abs(pairs.better - pairs.worse)
    if len(margin) < 10:
        return ()
    tenth = np.empty(len(margin), dtype=np.int64)
    tenth[np.argsort(margin, kind="stable")] = np.arange(len(margin)) * 10 // len(margin)
    return tuple(
        _part(f"{at + 1}: {margin[tenth == at].min():.3g} to {margin[tenth == at].max():.3g}", pairs, tenth == at)
        for at in range(10)
    )


def _by_length(pairs: PairTable, longest: npt.NDArray[np.int64]) -> tuple[Slice, ...]:
    bucket = np.searchsorted(_LENGTHS, longest, side="right") - 1
    ends = [f" to {end - 1}" for end in _LENGTHS[1:]] + [" and more"]
    return tuple(
        _part(f"{begin}{end}", pairs, bucket == at)
        for at, (begin, end) in enumerate(zip(_LENGTHS, ends, strict=True))
        if (bucket == at).any()
    )


def _by_longer(pairs: PairTable, lengths: npt.NDArray[np.int64]) -> tuple[Slice, ...]:
    better, worse = lengths[:, 0], lengths[:, 1]
    alike = np.abs(better - worse) < _NEAR * np.maximum(better, worse)
    parts = {
        "the better is longer": (better > worse) & ~alike,
        "alike within 10 %": alike | (better == worse),
        "the better is shorter": (better < worse) & ~alike,
    }
    return tuple(_part(name, pairs, rows) for name, rows in parts.items() if rows.any())


def _part(label: str, pairs: PairTable, rows: npt.NDArray[np.bool_]) -> Slice:
    return Slice(label=label, accuracy=accuracy(pairs.select(rows)))


def _pairs(rows: Sequence[tuple[PreferenceGroup, list[float]]], aspect: str) -> tuple[PairTable, PairTable]:
    """Return the labelled and the rated pairs of some groups."""
    groups, rewards = [group for group, _ in rows], [given for _, given in rows]
    return labelled_pairs(groups, rewards), scored_pairs(groups, rewards, aspect)
