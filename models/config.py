"""The reward model's configuration, readable without torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rewardlab.combination import Combination, Ensemble
from rewardlab.config import Config
from rewardlab.readout import Pooling

Head = Literal["linear", "mlp"]
Loss = Literal["bradley_terry", "margin_ranking", "plackett_luce", "mse", "soft_cross_entropy"]

NEEDS: Mapping[Loss, str] = {
    "bradley_terry": "comparisons",
    "margin_ranking": "comparisons",
    "plackett_luce": "comparisons or scores",
    "mse": "scores",
    "soft_cross_entropy": "scores",
}
"""What each loss learns from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What is minimised: the loss of the combined reward and of each aspect, and what is added to them.

    `label_smoothing` is the share of each comparison's strength that goes to the other side, in Bradley-Terry;
    `center_rewards` is the coefficient of the pull of each group's rewards to zero, which `mse` needs none of;
    `consistency` that of the squared distance of a response's reward from that of its rewording.
    """

    losses: tuple[Loss, ...] = ("bradley_terry",)
    label_smoothing: float = 0.0
    center_rewards: float = 0.0
    consistency: float = 0.0

    def __post_init__(self) -> None:
        for name in ("consistency", "center_rewards"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is finite and not negative, got {getattr(self, name)}")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing is in [0, 0.5), got {self.label_smoothing}")
        if self.label_smoothing and "bradley_terry" not in self.losses:
            raise ValueError(f"label_smoothing is of bradley_terry, and the loss is {', '.join(self.losses)}")
        if self.center_rewards and set(self.losses) == {"mse"}:
            raise ValueError("center_rewards is of losses that leave a reward's zero open, and mse fixes it")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(Config):
    """Backbone, pooling and heads: one, or one per aspect, times the members of an ensemble.

    `freeze_layers` counts from the bottom; embeddings are frozen with the first. With a `lora_rank` all the backbone is
    frozen, and the layers above those get adapters of this rank, scaled by `lora_alpha / lora_rank`.
    """

    backbone: str
    pooling: Pooling = "last_token"
    head: Head = "linear"
    aspects: tuple[str, ...] = ()
    combination: Combination = Combination()
    ensemble: Ensemble = Ensemble()
    freeze_layers: int = 0
    dropout: float = 0.0
    lora_rank: int = 0
    lora_alpha: int = 16

    def __post_init__(self) -> None:
        self.combination.check(self.aspects)
        if self.freeze_layers < 0:
            raise ValueError(f"freeze_layers is at least 0, got {self.freeze_layers}")
        if self.lora_rank < 0 or self.lora_alpha < 1:
            raise ValueError(
                f"lora_rank is at least 0 and lora_alpha positive, got {self.lora_rank} and {self.lora_alpha}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is in [0, 1), got {self.dropout}")
