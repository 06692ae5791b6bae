"""The reward model's configuration, readable without torch."""

from dataclasses import dataclass
from typing import Literal

from rewardlab.combination import Combination, Ensemble
from rewardlab.config import Config
from rewardlab.readout import Pooling

Head = Literal["linear", "mlp"]
Loss = Literal["bradley_terry", "margin_ranking", "mse", "soft_cross_entropy"]

COMPARED: tuple[Loss, ...] = ("bradley_terry", "margin_ranking")
"""Losses that learn from comparisons; the others learn from scores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(Config):
    """Backbone, pooling and heads: one, or one per aspect, times the members of an ensemble.

    `freeze_layers` counts from the bottom; embeddings are frozen with the first.
    """

    backbone: str
    pooling: Pooling = "last_token"
    head: Head = "linear"
    aspects: tuple[str, ...] = ()
    combination: Combination = Combination()
    ensemble: Ensemble = Ensemble()
    freeze_layers: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        self.combination.check(self.aspects)
        if self.freeze_layers < 0:
            raise ValueError(f"freeze_layers is at least 0, got {self.freeze_layers}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is in [0, 1), got {self.dropout}")
