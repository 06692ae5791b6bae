"""The training loop: accumulate, clip, step, validate, keep the best."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from models.batches import Batch, TokenGroup, length_sorted_batches
from models.losses import group_loss
from models.reward_model import RewardModel
from models.trees import TreeBatch, pack
from rewardlab.files import atomic_path
from steps.progress import progress
from steps.train.config import TrainConfig
from steps.train.order import Pairs, pair_up, shuffled

Log = Callable[[int, dict[str, float]], None]
Groups = Sequence[TokenGroup]


class NotFiniteError(ArithmeticError):
    """The loss of a batch, in training or in validation, is NaN or infinite."""

    def __init__(self, step: int, groups: list[str], loss: float) -> None:
        super().__init__(f"loss {loss} at step {step}")
        self.step, self.groups, self.loss = step, groups, loss


@dataclass(slots=True)
class History:
    """What happened: one row a validation, and which was best."""

    rows: list[dict[str, float]] = field(default_factory=list)
    num_steps: int = 0
    best_step: int = 0
    best: tuple[float, float] = (-math.inf, -math.inf)

    @property
    def best_accuracy(self) -> float:
        """Return the best validation accuracy."""
        return self.best[0]

    def stale(self, patience: int) -> bool:
        """Return whether the last `patience` validations brought nothing better."""
        later = [row for row in self.rows if row["step"] > self.best_step]
        return len(later) >= patience


class Trainer:
    """Fits one model; keeps the best weights in `checkpoint`."""

    def __init__(
        self, model: RewardModel, config: TrainConfig, *, pad_id: int, num_groups: int, checkpoint: Path
    ) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if config.precision == "fp16" and self._device.type == "cpu":
            raise ValueError("fp16 needs a GPU: use bf16 or fp32 on CPU")
        self._model, self._config, self._checkpoint = model.to(self._device), config, checkpoint
        self._pad_id = pad_id
        self._shares_prompts = model.share_prompts()
        self._steps_per_epoch = math.ceil(num_groups / config.groups_per_step)
        self._num_steps = self._steps_per_epoch * config.epochs
        self._optimizer = torch.optim.AdamW(_parameters(model, config), betas=(0.9, 0.999))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._pace)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=config.precision == "fp16")
        self.history = History()

    def check_budget(self, groups: Groups) -> None:
        """Refuse, before the first step, a group that alone exceeds the token budget.

        Raises:
            ValueError: the message names the group.
        """
        for group in groups:
            self._cut([group])

    def fit(self, train: Groups, validation: Groups, log: Log) -> History:
        """Train to the end or until accuracy stays; the model then holds the best weights.

        Raises:
            NotFiniteError: the loss is not finite; the best weights so far are in the checkpoint.
        """
        config = self._config
        losses: list[float] = []
        pairs = pair_up(train)
        started, tokens = time.perf_counter(), 0
        with progress(self._num_steps * config.groups_per_step, "train") as bar:
            for step in range(1, self._num_steps + 1):
                groups = [train[index] for index in self._indices(step, pairs)]
                batches = self._cut(groups)
                losses.append(self._step(step, batches, len(groups)))
                tokens += sum(batch.num_tokens for batch in batches)
                bar.set_postfix_str(f"loss {losses[-1]:.3f}", refresh=False)
                bar.update(len(groups))
                self.history.num_steps = step
                if step % config.validate_every == 0 or step == self._num_steps:
                    speed = tokens / (time.perf_counter() - started)
                    self._validate(step, validation, log, {"train_loss": float(np.mean(losses)), "tokens_per_s": speed})
                    losses = []
                    if self.history.stale(config.patience):
                        break
        best = load_file(self._checkpoint, device=str(self._device))
        self._model.load_state_dict(best, strict=False)
        return self.history

    def _indices(self, step: int, pairs: Pairs) -> Iterator[int]:
        """Yield which groups a step takes."""
        epoch, at = divmod(step - 1, self._steps_per_epoch)
        size = self._config.groups_per_step
        return islice(shuffled(pairs, seed=self._config.seed, epoch=epoch), at * size, (at + 1) * size)

    def _cut(self, groups: Groups) -> Sequence[Batch | TreeBatch]:
        """Return micro-batches: rows of token trees, or right-padded sequences of like length."""
        if self._shares_prompts:
            return pack(groups, budget=self._config.token_budget)
        return length_sorted_batches(groups, budget=self._config.token_budget, pad_id=self._pad_id)

    def _step(self, step: int, batches: Sequence[Batch | TreeBatch], num_groups: int) -> float:
        """Take one optimizer step over micro-batches; the loss is the mean over the step's groups."""
        self._model.train()
        total = 0.0
        for batch in batches:
            loss = self._loss(batch, self._rewards(batch)) / num_groups
            if not torch.isfinite(loss):
                raise NotFiniteError(step, list(batch.group_ids), loss.item())
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        return total

    def _loss(self, batch: Batch | TreeBatch, rewards: torch.Tensor) -> torch.Tensor:
        """Return the sum over the batch's groups, so that the step does not depend on how it was cut."""
        return group_loss(rewards, batch.targets.to(self._device), loss=self._config.loss, reduction="sum")

    def _rewards(self, batch: Batch | TreeBatch) -> torch.Tensor:
        low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self._config.precision)
        with torch.autocast(self._device.type, dtype=low, enabled=low is not None):
            moved = batch.to(self._device)
            if isinstance(moved, TreeBatch):
                return self._model.score_trees(moved).float()
            rewards: torch.Tensor = self._model(moved.ids_BT, moved.lengths_B)
        return rewards.float()

    def _validate(self, step: int, groups: Groups, log: Log, metrics: dict[str, float]) -> None:
        """Count wins over the validation groups and keep the weights if they are the best so far."""
        self._model.eval()
        wins = decided = total = 0.0
        with torch.no_grad():
            for batch in self._cut(groups):
                rewards, targets = self._rewards(batch), batch.targets
                loss = float(self._loss(batch, rewards))
                if not math.isfinite(loss):
                    raise NotFiniteError(step, list(batch.group_ids), loss)
                total += loss
                gaps = (rewards.cpu()[targets.better_C] - rewards.cpu()[targets.worse_C])[targets.strength_C > 0.5]
                wins += float((gaps > 0).sum()) + 0.5 * float((gaps == 0).sum())
                decided += len(gaps)
        accuracy, loss = wins / decided if decided else float("nan"), total / len(groups)
        row = {"step": float(step), **metrics, "validation_accuracy": accuracy, "validation_loss": loss}
        self.history.rows.append(row)
        log(step, {name: value for name, value in row.items() if name != "step"})
        if (accuracy, -loss) > self.history.best:
            self.history.best, self.history.best_step = (accuracy, -loss), step
            self._keep()

    def _keep(self) -> None:
        """Write the weights that training changes."""
        moving = {name: value.detach().cpu().contiguous() for name, value in self._moving()}
        with atomic_path(self._checkpoint) as scratch:
            save_file(moving, scratch)

    def _moving(self) -> list[tuple[str, torch.Tensor]]:
        return [(name, value) for name, value in self._model.named_parameters() if value.requires_grad]

    def _pace(self, step: int) -> float:
        """Return the share of the learning rate at a step: linear warm-up, then decay to 0."""
        warmup = max(1, round(self._config.warmup_share * self._num_steps))
        if step < warmup:
            return (step + 1) / warmup
        left = (self._num_steps - step) / max(1, self._num_steps - warmup)
        if self._config.decay == "linear":
            return left
        return 1.0 if self._config.decay == "constant" else 0.5 * (1 + math.cos(math.pi * (1 - left)))


def _parameters(model: RewardModel, config: TrainConfig) -> list[dict[str, Any]]:
    """Return optimizer groups: the head learns faster, vectors (norms, biases) are not decayed."""
    groups = []
    for is_head in (False, True):
        for is_matrix in (False, True):
            chosen = [
                value
                for name, value in model.named_parameters()
                if value.requires_grad and name.startswith("head.") == is_head and (value.ndim >= 2) == is_matrix
            ]
            if chosen:
                rate = config.head_learning_rate if is_head else config.learning_rate
                groups.append({"params": chosen, "lr": rate, "weight_decay": config.weight_decay if is_matrix else 0.0})
    return groups
