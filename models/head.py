"""The reward head, hidden states and a mask to one fp32 reward per sequence, and several of them on one backbone.

Several are one per aspect, times the members of an ensemble.

Shapes: B sequences, T tokens, D width, H members, A aspects (1 where there is one head without a name).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.config import Head, ModelConfig
from models.pooling import attend, average, first_position, last_position, take
from rewardlab.combination import Combination, Ensemble
from rewardlab.readout import Pooling

_SEEDS_APART = 1000


class RewardHead(nn.Module):
    """Pools hidden states and scores them; works on those of any model.

    The score starts as a tenth of N(0, 1 / sqrt(D + 1)) (Stiennon et al. 2020, "Learning to summarize", appendix B.1),
    from `seed` alone: fp32 noise of a reward grows with the norm of the score, and what is not learned should add
    little. Attention pooling starts as the mean. The linear head has no bias, so that it can be the `score` of
    transformers' sequence classifiers.

    Example:
        >>> head = RewardHead(8, pooling="last_token")
        >>> hidden_BTD = torch.ones(2, 3, 8)
        >>> mask_BT = torch.tensor([[1, 1, 0], [1, 1, 1]])
        >>> head(hidden_BTD, mask_BT).shape
        torch.Size([2])
    """

    def __init__(self, width: int, *, pooling: Pooling, kind: Head = "linear", seed: int = 0) -> None:
        super().__init__()
        self.pooling = pooling
        self.query = nn.Parameter(torch.zeros(width)) if pooling == "attention" else None
        self.dense = nn.Linear(width, width) if kind == "mlp" else None
        self.score = nn.Linear(width, 1, bias=False)
        self._initialise(torch.Generator().manual_seed(seed))

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Return one reward per row in fp32, under autocast too."""
        with torch.autocast(hidden_BTD.device.type, enabled=False):
            pooled_BD = self.pool(hidden_BTD, mask_BT.bool()).to(self.score.weight.dtype)
            if self.dense is not None:
                pooled_BD = nn.functional.gelu(self.dense(pooled_BD))
            rewards_B: Tensor = self.score(pooled_BD).squeeze(-1).float()
            return rewards_B

    def pool(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Return one vector per row, pooled_BD, of the positions where the boolean mask is true."""
        if self.pooling == "last_token":
            return take(hidden_BTD, last_position(mask_BT))
        if self.pooling == "cls":
            return take(hidden_BTD, first_position(mask_BT))
        if self.query is not None:
            return attend(hidden_BTD.float(), mask_BT, self.query.float())
        return average(hidden_BTD.float(), mask_BT)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        spread = (self.score.in_features + 1) ** -0.5
        self.score.weight.normal_(0.0, 0.1 * spread, generator=generator)
        if self.dense is not None:
            self.dense.weight.normal_(0.0, spread, generator=generator)
            self.dense.bias.zero_()


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
