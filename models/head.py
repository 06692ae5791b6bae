"""The reward head: hidden states and a mask to one fp32 reward per sequence.

Shapes: B sequences, T tokens, D width.
"""

import torch
from torch import Tensor, nn

from models.config import Head
from models.pooling import attend, average, first_position, last_position, take
from rewardlab.readout import Pooling


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
