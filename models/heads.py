"""Several reward heads on one backbone: one per aspect, times the members of an ensemble, and what they make together.

Shapes: H members, A aspects (1 where there is one head without a name), B sequences.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.head import RewardHead
from rewardlab.combination import Combination, Ensemble

_SEEDS_APART = 1000


class RewardHeads(nn.Module):
    """Scores with `members`, member by member, aspect by aspect.

    In evaluation it returns rewards_B, or with aspects [1 + A, B]: the combined reward, then each aspect, its members'
    mean. In training it returns [H, 1 + A, B], or [H, 1, B] without aspects: each member learns as a model of its own.
    """

    def __init__(
        self, members: Sequence[RewardHead], *, aspects: Sequence[str], combination: Combination, ensemble: Ensemble
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.pooling = members[0].pooling
        self._aspects, self._combination, self._ensemble = tuple(aspects), combination, ensemble

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the rewards in fp32, under autocast too."""
        rewards = torch.stack([head(hidden_BTD, mask_BT) for head in self.members])
        rewards_HAB = rewards.view(self._ensemble.num_heads, max(1, len(self._aspects)), -1)
        if not self._aspects:
            return rewards_HAB if self.training else reduce(rewards_HAB[:, 0], self._ensemble)
        combined_HB = combine(rewards_HAB, self._aspects, self._combination)
        if self.training:
            return torch.cat([combined_HB[:, None], rewards_HAB], dim=1)
        return torch.cat([reduce(combined_HB, self._ensemble)[None], rewards_HAB.mean(dim=0)])


def combine(rewards_HAB: Tensor, aspects: Sequence[str], combination: Combination) -> Tensor:
    """Return each member's combined reward, combined_HB; the formula is `Combination`'s."""
    total_HB = torch.zeros_like(rewards_HAB[:, 0])
    for index, name in enumerate(aspects):
        reward_HB = rewards_HAB[:, index]
        total_HB = total_HB + combination.weights[name] * reward_HB
        if penalty := combination.penalties.get(name):
            total_HB = total_HB - penalty.slope * (penalty.below - reward_HB).clamp(min=0)
    return total_HB


def reduce(combined_HB: Tensor, ensemble: Ensemble) -> Tensor:
    """Return the ensemble's reward, rewards_B; the formulas are `Ensemble`'s."""
    if ensemble.rule == "worst":
        return combined_HB.amin(dim=0)
    mean_B = combined_HB.mean(dim=0)
    if ensemble.rule == "mean":
        return mean_B
    return mean_B - ensemble.coefficient * (combined_HB - mean_B).square().mean(dim=0).sqrt()


def build_head(config: ModelConfig, width: int, *, seed: int) -> RewardHead | RewardHeads:
    """Return the heads that a configuration asks for, each with a seed of its own; the first has the given one."""
    count = config.ensemble.num_heads * max(1, len(config.aspects))
    members = [
        RewardHead(width, pooling=config.pooling, kind=config.head, seed=seed + _SEEDS_APART * index)
        for index in range(count)
    ]
    if count == 1 and not config.aspects:
        return members[0]
    return RewardHeads(members, aspects=config.aspects, combination=config.combination, ensemble=config.ensemble)
