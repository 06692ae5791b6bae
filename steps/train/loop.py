"""The training loop: accumulate, clip, step, validate, checkpoint."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from threading import Event

import numpy as np
import torch

from models.batches import Batch, TokenGroup, length_sorted_batches
from models.losses import group_loss
from models.reward_model import RewardModel
from models.trees import TreeBatch, pack
from rewardlab.reports import HistoryRow
from steps.common.progress import progress
from steps.train.config import TrainConfig
from steps.train.groups import Data
from steps.train.optimizer import captured, make_optimizer, moving, restore
from steps.train.order import Order, divide
from steps.train.state import Checkpoints, Facts
from steps.train.stop import StoppedError
from steps.train.world import World, accumulating, peaks, random_states, set_random_state, spread, whole

Log = Callable[[int, dict[str, float]], None]
Groups = Sequence[TokenGroup]

_WINDOW = 1024
"""So many validation groups are laid out at a time."""


class NotFiniteError(ArithmeticError):
    """The loss of a batch, in training or in validation, or the gradient is NaN or infinite; `what` says which."""

    def __init__(self, step: int, groups: list[str], what: str) -> None:
        super().__init__(f"{what} at step {step}")
        self.step, self.groups, self.what = step, groups, what


@dataclass(slots=True)
class History:
    """What happened: one row a validation, the steps taken, and the losses since the last validation."""

    rows: list[HistoryRow] = field(default_factory=list)
    num_steps: int = 0
    losses: list[float] = field(default_factory=list)

    @property
    def best(self) -> HistoryRow:
        """Return the row of the best accuracy, of equal ones that of the lowest loss, of those the first."""
        return max(self.rows, key=lambda row: (row.validation_accuracy, -row.validation_loss))

    @property
    def best_step(self) -> int:
        """Return the step with the best row; 0 before the first validation."""
        return int(self.best.step) if self.rows else 0

    def stale(self, patience: int) -> bool:
        """Return whether the last `patience` validations brought nothing better."""
        return sum(row.step > self.best_step for row in self.rows) >= patience


class Trainer:
    """Fits one model together with the other processes of its world; what it reaches is in the checkpoints."""

    def __init__(
        self, model: RewardModel, config: TrainConfig, data: Data, *, checkpoints: Checkpoints, world: World
    ) -> None:
        if config.precision == "fp16" and world.device.type == "cpu":
            raise ValueError("fp16 needs a GPU: use bf16 or fp32 on CPU")
        self._config, self._data, self._checkpoints, self._world = config, data, checkpoints, world
        self._objective = config.objective
        self._shares_prompts = model.share_prompts()
        self._check_budget(chain(data.train, data.validation))
        if config.recompute:
            model.recompute_layers()
        self._order = Order(data.pairs, seed=config.seed, groups_per_step=config.groups_per_step)
        self._num_steps = self._order.steps_per_epoch * config.epochs
        self._scorer = spread(model, world, config.parallel)
        self._parameters = moving(model)
        self._optimizer, self._schedule = make_optimizer(self._parameters, config, self._num_steps)
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=config.precision == "fp16")
        self.history = History()

    def _check_budget(self, groups: Iterable[TokenGroup]) -> None:
        """Refuse, before the first step, a group that alone exceeds the token budget.

        Raises:
            ValueError: the message names the group.
        """
        for group in groups:
            if self._size(group) > self._config.token_budget:
                self._cut([group])

    def fit(self, log: Log, stop: Event) -> History:
        """Train on from the newest checkpoint to the end or until accuracy stays.

        Raises:
            NotFiniteError: the loss is not finite; the best weights so far are in the checkpoints.
            StoppedError: `stop` was set; a checkpoint holds all that was done.
        """
        config, history = self._config, self.history
        self._resume()
        saved = started = time.monotonic()
        tokens = 0.0
        with progress(self._num_steps * config.groups_per_step, "train", shown=self._world.rank == 0) as bar:
            bar.update(history.num_steps * config.groups_per_step)
            while history.num_steps < self._num_steps and not history.stale(config.patience):
                history.num_steps = step = history.num_steps + 1
                groups = [self._data.train[index] for index in self._order.step(step)]
                loss, read = self._step(step, groups)
                history.losses.append(loss)
                tokens += read
                bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
                bar.update(len(groups))
                if step % config.validate_every == 0 or step == self._num_steps:
                    self._validate(step, log, tokens / (time.monotonic() - started))
                due = self._world.rank == 0 and time.monotonic() - saved >= config.checkpoint_seconds
                asked, due = self._world.sum(torch.tensor([stop.is_set(), due], dtype=torch.int64)).tolist()
                if asked or due or history.best_step == step:
                    self._checkpoint(step)
                    saved = time.monotonic()
                if asked:
                    raise StoppedError(
                        f"training was asked to stop at step {step} of {self._num_steps}: the checkpoint is "
                        f"{self._checkpoints.path(step)}, and the same command goes on from there"
                    )
        return history

    def count(self, groups: Groups) -> tuple[int, int, float]:
        """Return twice the wins (a tie of rewards is one), the comparisons decided, and the loss, of all processes.

        Raises:
            NotFiniteError: the loss is not finite.
        """
        self._scorer.eval()
        counts, total, bad = torch.zeros(2, dtype=torch.int64), 0.0, []
        with torch.no_grad():
            for start in range(0, len(groups), _WINDOW):
                for batch, weight in self._shares(groups[start : start + _WINDOW]):
                    rewards, targets = self._rewards(batch), batch.targets
                    if not weight:
                        continue
                    loss = float(self._loss(batch, rewards))
                    bad += [] if math.isfinite(loss) else [batch]
                    total += loss
                    rewards = rewards.cpu().flatten()
                    gaps = rewards[targets.better_C] - rewards[targets.worse_C] + targets.offset_C
                    gaps = gaps[targets.strength_C > 0.5]
                    counts += torch.tensor([2 * (gaps > 0).sum() + (gaps == 0).sum(), len(gaps)])
        wins, decided = self._world.sum(counts).tolist()
        total = float(self._world.sum(torch.tensor(total, dtype=torch.float64)))
        if not math.isfinite(total):
            raise NotFiniteError(self.history.num_steps, self._named(bad), f"the validation loss is {total}")
        return wins, decided, total

    def _size(self, group: TokenGroup) -> int:
        """Return the tokens that a group takes of the budget: of a tree, or of padded sequences."""
        return group.num_tokens if self._shares_prompts else len(group.responses) * group.longest

    def _cut(self, groups: Groups) -> Sequence[Batch | TreeBatch]:
        """Return micro-batches: rows of token trees, or right-padded sequences of like length."""
        if self._shares_prompts:
            return pack(groups, budget=self._config.token_budget)
        return length_sorted_batches(groups, budget=self._config.token_budget, pad_id=self._data.pad_id)

    def _shares(self, groups: Groups) -> Iterator[tuple[Batch | TreeBatch, float]]:
        """Yield this process's part of the groups in micro-batches, each with its weight.

        Every process yields as many, since gathering shards and summing gradients takes all of them: one with less to
        do reads a group of another's again, with weight 0.
        """
        # 1. This process's own micro-batches.
        sizes = [self._size(group) for group in groups]
        mine = divide(sizes, self._world.size)[self._world.rank]
        batches = self._cut([groups[index] for index in mine]) if mine else []
        for batch in batches:
            yield batch, 1.0

        # 2. The smallest group, again and again, until all have yielded as many.
        num_idle = self._world.max(len(batches)) - len(batches)
        if num_idle:
            (filler,) = self._cut([min(groups, key=self._size)])
            for _ in range(num_idle):
                yield filler, 0.0

    def _step(self, step: int, groups: Groups) -> tuple[float, float]:
        """Take one optimizer step; return the mean loss over its groups, and the tokens read.

        The loss is divided by the number of groups of all processes, so that neither the number of micro-batches nor
        of processes changes the gradient; DDP and FSDP average over processes, hence the factor.
        """
        self._scorer.train()
        shares = list(self._shares(groups))
        losses = []
        for at, (batch, weight) in enumerate(shares):
            with accumulating(self._scorer, last=at == len(shares) - 1):
                loss = self._loss(batch, self._rewards(batch)) * (weight / len(groups))
                self._scaler.scale(loss * self._world.size).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        self._scaler.unscale_(self._optimizer)
        norm = whole(torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._config.clip_norm))
        read = sum(batch.num_tokens for batch, weight in shares if weight)
        total, read = self._world.sum(torch.tensor([float(sum(losses)), read], dtype=torch.float64)).tolist()
        if not math.isfinite(total):
            bad = [batch for (batch, _), loss in zip(shares, losses, strict=True) if not loss.isfinite()]
            raise NotFiniteError(step, self._named(bad), f"the loss is {total}")
        if not (norm.isfinite() or self._scaler.is_enabled()):  # the scaler skips such a step and scales down
            raise NotFiniteError(step, self._named([batch for batch, _ in shares]), f"the gradient's norm is {norm:g}")
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        return total, read

    def _loss(self, batch: Batch | TreeBatch, rewards: torch.Tensor) -> torch.Tensor:
        """Return the sum over the batch's groups, so that the step does not depend on how it was cut."""
        return group_loss(rewards, batch.targets.to(self._world.device), objective=self._objective, reduction="sum")

    def _rewards(self, batch: Batch | TreeBatch) -> torch.Tensor:
        low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self._config.precision)
        with torch.autocast(self._world.device.type, dtype=low, enabled=low is not None):
            rewards: torch.Tensor = self._scorer(batch.to(self._world.device))
        return rewards.float()

    def _named(self, batches: Sequence[Batch | TreeBatch]) -> list[str]:
        """Return the groups of all processes' batches."""
        names = json.dumps([name for batch in batches for name in batch.group_ids])
        return [name for text in self._world.gather(names.encode()) for name in json.loads(text)]

    def _validate(self, step: int, log: Log, tokens_per_s: float) -> None:
        """Add a row to the history."""
        wins, decided, loss = self.count(self._data.validation)
        row = HistoryRow(
            step=float(step),
            train_loss=float(np.mean(self.history.losses)),
            tokens_per_s=tokens_per_s,
            **peaks(self._world),
            validation_accuracy=wins / (2 * decided),
            validation_loss=loss / len(self._data.validation),
        )
        self.history.rows.append(row)
        self.history.losses = []
        measured = row.to_dict()
        del measured["step"]
        log(step, measured)

    def _checkpoint(self, step: int) -> None:
        """Keep all that the next step depends on; its data follow from the number of the step."""
        first = self._world.rank == 0
        tensors = captured(self._parameters, self._optimizer, keep=first) | random_states(self._world)
        if first:
            facts: Facts = {
                "step": step,
                "best_step": self.history.best_step,
                "rows": [row.to_dict() for row in self.history.rows],
                "losses": self.history.losses,
                "schedule": self._schedule.state_dict(),
                "scaler": self._scaler.state_dict(),
            }
            self._checkpoints.write(step, tensors, facts)

    def _resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        facts = self._checkpoints.newest()
        if not facts:
            return
        tensors = self._checkpoints.tensors(facts["step"])
        restore(self._parameters, self._optimizer, tensors)
        self._schedule.load_state_dict(facts["schedule"])
        for group, rate in zip(self._optimizer.param_groups, self._schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        self._scaler.load_state_dict(facts["scaler"])
        set_random_state(self._world, tensors)
        self.history.rows = [HistoryRow.from_dict(row) for row in facts["rows"]]
        self.history.losses = facts["losses"]
        self.history.num_steps = facts["step"]
        if self._world.rank == 0:
            print(f"training goes on from its checkpoint at step {facts['step']}", file=sys.stderr)
