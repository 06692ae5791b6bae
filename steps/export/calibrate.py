"""What the calibration split says of a finished graph."""

from collections.abc import Sequence

import numpy as np

from rewardlab.bundle import Calibration
from rewardlab.drift import Reference
from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import PairTable, labelled_pairs, scored_pairs
from steps.common.statistics import by_group, by_subset, fit_temperature, length_correlation
from steps.export.parity import Rewards

_MIN_REFERENCE = 20
"""Of fewer rewards a subset has no distribution that drift could be measured from."""


def calibrate(groups: Sequence[PreferenceGroup], rewards: Rewards, *, truncated: float) -> Calibration:
    """Fit the temperature and keep the rewards' distribution; `truncated` is the share of responses that were cut."""
    per_group = by_group(rewards, groups)
    pairs = calibration_pairs(groups, per_group)
    reference, lengths = Reference.of(rewards.astype(np.float64)), length_correlation(groups, per_group)
    return Calibration(
        temperature=fit_temperature(pairs),
        mean=reference.mean,
        sd=reference.sd,
        quantiles=reference.quantiles,
        num_comparisons=len(pairs.better),
        num_rewards=reference.num,
        length_correlation=lengths.value if lengths else None,
        truncated=truncated,
        subsets={
            name: Reference.of(found)
            for name, found in by_subset(groups, per_group).items()
            if name and len(found) >= _MIN_REFERENCE
        },
    )


def calibration_pairs(groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]]) -> PairTable:
    """Return the comparisons, or where there are ratings alone the pairs that the first aspect orders."""
    pairs = labelled_pairs(groups, rewards)
    if len(pairs.better):
        return pairs
    return scored_pairs(groups, rewards, min((aspect for group in groups for aspect in group.scores), default=""))
