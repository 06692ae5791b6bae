"""How the rewards of several heads become one: aspects by weights and penalties, an ensemble by a rule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rewardlab.config import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Penalty(Config):
    """What an aspect costs where it is low: `slope` for each unit that its reward lacks to `below`.

    `below` means what the head was taught: on ratings (`mse`) it is a rating; on comparisons rewards have no zero of
    their own, and centring puts it at the average response to a prompt.
    """

    below: float = 0.0
    slope: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.below):
            raise ValueError(f"below is finite, got {self.below}")
        if not (math.isfinite(self.slope) and self.slope > 0):
            raise ValueError(f"slope is positive and finite, got {self.slope}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Combination(Config):
    """One reward of several aspects' r_a.

    reward = sum_a weights[a] r_a - sum_a penalties[a].slope max(0, penalties[a].below - r_a)
    """

    weights: dict[str, float] = field(default_factory=dict)
    penalties: dict[str, Penalty] = field(default_factory=dict)

    def check(self, aspects: Sequence[str]) -> None:
        """Hold the combination against the heads that there are.

        Raises:
            ValueError: an aspect has no weight, or a weight or penalty is of no aspect.
        """
        if len({*aspects}) != len(aspects) or not all(aspects):
            raise ValueError(f"aspects are different names, got {', '.join(map(repr, aspects))}")
        if {*self.weights} != {*aspects}:
            raise ValueError(
                f"combination.weights holds {', '.join(self.weights) or 'nothing'}, and the aspects are "
                f"{', '.join(aspects) or 'none'}: give each a weight, 0 for one that is only reported"
            )
        if not all(map(math.isfinite, self.weights.values())):
            raise ValueError(f"weights are finite, got {self.weights}")
        if others := [name for name in self.penalties if name not in aspects]:
            raise ValueError(f"combination.penalties holds {', '.join(others)}, which is no aspect of {aspects}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ensemble(Config):
    """How many reward models share the backbone, and what of their rewards R_1..R_H is the reward.

    `mean`; `worst`, the lowest; `uncertainty`, mean(R) - coefficient sd(R) with the population's sd. Source: Coste et
    al. 2024, "Reward model ensembles help mitigate overoptimization", equations 1 to 3; they subtract the variance, the
    sd here keeps the penalty in units of the reward. Each member combines its own aspects; aspects are reported as the
    members' means.
    """

    num_heads: int = 1
    rule: Literal["mean", "worst", "uncertainty"] = "mean"
    coefficient: float = 1.0

    def __post_init__(self) -> None:
        if self.num_heads < 1:
            raise ValueError(f"num_heads is at least 1, got {self.num_heads}")
        if not (math.isfinite(self.coefficient) and self.coefficient >= 0):
            raise ValueError(f"coefficient is finite and not negative, got {self.coefficient}")
