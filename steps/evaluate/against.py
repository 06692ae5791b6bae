"""Hold a model against another on the same comparisons: the champion, an anchor, or any version."""

from collections.abc import Sequence

import numpy as np

from rewardlab.bundle import Bundle
from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import PairTable, accuracy, labelled_pairs
from rewardlab.references import resolve
from rewardlab.reports import Compared, ComparedModel
from steps.common.scores import score
from steps.common.statistics import mcnemar, paired_difference


def held_against(
    reference: str, groups: Sequence[PreferenceGroup], pairs: PairTable, *, name: str
) -> tuple[ComparedModel | None, str]:
    """Return what `against` says of the model that a reference names, or None and why it counts as none.

    Raises:
        ValueError: the reference names nothing.
    """
    folder, label = resolve(reference, name=name)
    other = Bundle.open(folder, label)
    if seen := other.trained_on(groups):
        return None, f"{other.label} was trained on {len(seen)} of the groups and counts as none"
    return against(groups, pairs, other), ""


def against(groups: Sequence[PreferenceGroup], pairs: PairTable, other: Bundle) -> ComparedModel:
    """Return the other model's accuracy on the groups, and how much the one that gave `pairs` differs from it."""
    theirs = labelled_pairs(groups, score(other, groups))
    subset = np.array([group.subset for group in groups for _ in group.comparisons])
    return ComparedModel.extending(
        compared(pairs, theirs),
        model=other.label,
        bundle=other.digest,
        subsets={
            name: compared(pairs.select(subset == name), theirs.select(subset == name))
            for name in sorted({*subset.tolist()} - {""})
        },
    )


def compared(pairs: PairTable, theirs: PairTable) -> Compared:
    """Return the other's accuracy, the difference to it with its interval by prompt, and McNemar's test."""
    return Compared(
        accuracy=accuracy(theirs), difference=paired_difference(pairs, theirs), mcnemar=mcnemar(pairs, theirs)
    )
