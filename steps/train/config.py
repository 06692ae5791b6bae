"""The configuration of training and what it reports."""

from dataclasses import dataclass, field
from typing import Literal

from models.config import Loss, ModelConfig, Objective
from rewardlab.config import Config, Report


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings(Config):
    """What a recipe chooses besides the model: AdamW with warm-up and decay (Loshchilov & Hutter 2019).

    The best checkpoint is the one with the best validation accuracy. A step takes `groups_per_step` groups.
    `recompute` keeps no activations within layers and computes them again in the backward pass. `validate_every` counts
    steps, `patience` validations without a better accuracy.

    With `head_only` the backbone is frozen and reads everything once; the head learns from its states on disk, which is
    the same as training with a frozen backbone and takes no longer than one epoch of reading.

    `prune_layers` leaves out so many of the backbone's layers before training, those that change the hidden state
    least; the model's `freeze_layers` counts what is left.

    `num_processes` train together on one machine, one a GPU: `ddp` copies the model to each, `fsdp` shards it. A
    checkpoint is kept at each best validation, and where `checkpoint_seconds` have passed since the last.

    `loss` is that of the one head; where there are aspects, of the combined reward, which comparisons of no aspect
    teach, and of each aspect that `aspect_losses` names no other for. `debias` adds to each comparison's logit what the
    lengths of its responses explain of the labels; `consistency` is the coefficient of the squared distance between the
    rewards of a response and of its rewording, which `tokenize.rewordings` makes.
    """

    loss: Loss = "bradley_terry"
    aspect_losses: dict[str, Loss] = field(default_factory=dict)
    label_smoothing: float = 0.0
    center_rewards: float = 0.0
    consistency: float = 0.0
    debias: Literal["none", "length"] = "none"
    seed: int = 0
    epochs: int = 1
    max_groups: int = 0
    groups_per_step: int = 32
    learning_rate: float = 1e-5
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    clip_norm: float = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    recompute: bool = False
    head_only: bool = False
    prune_layers: int = 0
    num_processes: int = 1
    parallel: Literal["ddp", "fsdp"] = "ddp"
    checkpoint_seconds: float = 300.0
    validate_every: int = 20
    patience: int = 5

    def __post_init__(self) -> None:
        for name in ("epochs", "groups_per_step", "num_processes", "validate_every", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "head_learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is positive, got {getattr(self, name)}")
        for name in ("seed", "max_groups", "weight_decay", "prune_layers", "checkpoint_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is not negative, got {getattr(self, name)}")
        if self.parallel == "fsdp" and self.num_processes == 1:
            raise ValueError("parallel is 'fsdp' and num_processes is 1: there is nothing to shard over")
        if not 0 <= self.warmup_share < 1:
            raise ValueError(f"warmup_share is in [0, 1), got {self.warmup_share}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(TrainSettings):
    """How a model is trained.

    A step's groups are cut into micro-batches of at most `token_budget` tokens: those of the trees, or padded ones
    where a backbone cannot share prompts.
    """

    model: ModelConfig
    token_budget: int = 8192

    @property
    def objective(self) -> Objective:
        """Return what is minimised."""
        aspects = [self.aspect_losses.get(name, self.loss) for name in self.model.aspects]
        return Objective(
            losses=(self.loss, *aspects),
            label_smoothing=self.label_smoothing,
            center_rewards=self.center_rewards,
            consistency=self.consistency,
        )

    def __post_init__(self) -> None:
        assert self.objective  # which refuses what does not fit
        self._check_heads()
        if self.debias != "none" and "bradley_terry" not in self.objective.losses:
            raise ValueError(f"debias is of bradley_terry, and the loss is {self.loss}")
        if self.token_budget < 1:
            raise ValueError(f"token_budget is at least 1, got {self.token_budget}")
        TrainSettings.__post_init__(self)

    def _check_heads(self) -> None:
        if others := sorted({*self.aspect_losses} - {*self.model.aspects}):
            raise ValueError(f"aspect_losses holds {', '.join(others)}, and the aspects are {self.model.aspects}")
        if self.head_only and (self.model.dropout or self.model.lora_rank or self.recompute or self.num_processes > 1):
            raise ValueError(
                "head_only reads a frozen backbone once: set dropout, lora_rank and recompute to 0, num_processes to 1"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport(Report):
    """How training went, of what `training.json` says beside the weights."""

    digest: str
    num_groups: int
    num_steps: int
    best_step: int
    best_accuracy: float
