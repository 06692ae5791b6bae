"""Training the head alone: the backbone reads everything once, and the head learns from what it said.

Shapes: B sequences, T positions, D width, N states of all sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.batches import TokenGroup, collate, cut_batches
from models.head import RewardHead, RewardHeads
from models.reward_model import RewardModel
from models.trees import lay_out, pack
from steps.common.progress import progress
from steps.train.config import TrainConfig
from steps.train.groups import Data, GroupSequence

_NOTHING = np.empty(0, dtype=np.int32)


class CachedModel(RewardModel):
    """A reward model whose tokens are places in a file of hidden states; it has the head to train and no backbone."""

    def __init__(self, states_ND: NDArray[np.float32], head: nn.Module) -> None:
        nn.Module.__init__(self)
        self.head = head
        self._states_ND = states_ND

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return rewards as `RewardModel` does."""
        hidden_BTD = torch.from_numpy(self._states_ND[input_ids.cpu().numpy()]).to(input_ids.device)
        positions_T = torch.arange(input_ids.shape[1], device=input_ids.device)
        rewards: Tensor = self.head(hidden_BTD, positions_T[None, :] < lengths[:, None])
        return rewards

    def share_prompts(self) -> bool:
        """Return False: there are no prompts."""
        return False


class Places(GroupSequence):
    """Groups whose responses are places in the file of states, instead of tokens."""

    def __init__(self, groups: Sequence[TokenGroup], starts: Sequence[int], *, whole: bool) -> None:
        self._groups, self._starts, self._whole = groups, starts, whole

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._groups)

    def group(self, index: int) -> TokenGroup:
        """Return one group without its prompt, whose states are in those of its responses."""
        group = self._groups[index]
        lengths = _num_states(group, whole=self._whole)
        starts = accumulate(lengths, initial=self._starts[index])
        places = (
            np.arange(start, start + length, dtype=np.int32) for start, length in zip(starts, lengths, strict=False)
        )
        return replace(group, prompt=_NOTHING, responses=tuple(places))


@dataclass(frozen=True, slots=True)
class _Reader:
    """The backbone, and what of its hidden states the head will need."""

    model: RewardModel
    config: TrainConfig
    pad_id: int
    device: torch.device
    shares: bool

    def write(self, groups: Sequence[TokenGroup], starts: Sequence[int], states_ND: NDArray[np.float32]) -> None:
        """Write the states of every group, response by response, from where the group starts.

        Raises:
            ValueError: one group alone exceeds the token budget.
        """
        with progress(len(groups), "read") as bar:
            for cut in self._cut(groups):
                chosen = [groups[index] for index in cut]
                rows = iter(self._read(chosen))
                for index, group in zip(cut, chosen, strict=True):
                    states = np.concatenate([next(rows) for _ in group.responses])
                    states_ND[starts[index] : starts[index] + len(states)] = states
                bar.update(len(cut))

    @torch.no_grad()
    def _read(self, groups: Sequence[TokenGroup]) -> list[NDArray[np.float32]]:
        """Return the states of each sequence, one or all of its positions."""
        low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.config.precision)
        with torch.autocast(self.device.type, dtype=low, enabled=low is not None):
            if self.shares:
                trees = lay_out(groups).to(self.device)
                states, lengths = self.model.score_trees(trees), trees.lengths_B
            else:
                batch = collate(groups, pad_id=self.pad_id).to(self.device)
                states, lengths = self.model(batch.ids_BT, batch.lengths_B), batch.lengths_B
        states_BTD = states.float().cpu().numpy()
        return [row[:length] for row, length in zip(states_BTD, lengths.tolist(), strict=True)]

    def _cut(self, groups: Sequence[TokenGroup]) -> list[tuple[int, ...]]:
        """Cut the indices of groups into batches within the token budget."""
        budget = self.config.token_budget
        if not self.shares:
            return cut_batches(groups, budget=budget)
        cuts: list[list[int]] = []
        room = 0
        for index, group in enumerate(groups):
            if group.num_tokens > room:
                pack([group], budget=budget)  # which refuses a group over the budget
                cuts.append([])
                room = budget
            cuts[-1].append(index)
            room -= group.num_tokens
        return [tuple(cut) for cut in cuts]


class _States(nn.Module):
    """Stands where the head does and returns what it reads: [B, 1, D] pooled, or where it learns to pool, [B, T, D]."""

    def __init__(self, head: RewardHead) -> None:
        super().__init__()
        self._pool = None if head.query is not None else head.pool

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        return hidden_BTD if self._pool is None else self._pool(hidden_BTD, mask_BT.bool())[:, None]


def read_once(
    model: RewardModel, data: Data, config: TrainConfig, target: Path, *, device: torch.device
) -> tuple[RewardModel, Data]:
    """Write what the head reads of every sequence to a file, and return a model and data that read the file instead.

    Args:
        model: its backbone is read in evaluation mode; its head is the one to train.
        data: groups of tokens.
        config: precision and token budget are those of training.
        target: the file of float32 states; for attention pooling that is every token's.
        device: where the backbone runs.

    Raises:
        ValueError: a group alone exceeds the token budget.
    """
    head = model.head.members[0] if isinstance(model.head, RewardHeads) else model.head
    assert isinstance(head, RewardHead)
    whole = head.query is not None
    reading = RewardModel(model.backbone, _States(head), kind=model.kind).to(device).eval()
    reader = _Reader(reading, config, data.pad_id, device, reading.share_prompts())
    starts, total = [], 0
    for groups in (data.train, data.validation):
        sizes = (sum(_num_states(group, whole=whole)) for group in groups)
        *begins, total = accumulate(sizes, initial=total)
        starts.append(begins)
    assert total < 2**31  # places are int32, as tokens are
    shape = (total, model.config.hidden_size)
    states_ND = np.memmap(target, dtype=np.float32, mode="w+", shape=shape)
    for groups, begins in zip((data.train, data.validation), starts, strict=True):
        reader.write(groups, begins, states_ND)
    states_ND.flush()
    train, validation = (
        Places(groups, begins, whole=whole)
        for groups, begins in zip((data.train, data.validation), starts, strict=True)
    )
    cached_ND = np.memmap(target, dtype=np.float32, mode="r", shape=shape)
    return CachedModel(cached_ND, model.head), replace(data, train=train, validation=validation, pad_id=0)


def _num_states(group: TokenGroup, *, whole: bool) -> list[int]:
    """Return how many states are kept of each response's sequence."""
    return [len(group.prompt) + len(response) if whole else 1 for response in group.responses]
