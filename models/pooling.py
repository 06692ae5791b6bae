"""Reduce hidden states to one vector per sequence.

Shapes: B sequences, T tokens, D width. Masks are 1 where a token is real; padding may be on either side.
"""

import torch
from torch import Tensor


def first_position(mask_BT: Tensor) -> Tensor:
    """Return the index of each row's first real token."""
    return mask_BT.shape[1] - 1 - last_position(mask_BT.flip(1))


def last_position(mask_BT: Tensor) -> Tensor:
    """Return the index of each row's last real token, from the mask alone and never from pad ids."""
    positions_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return (positions_T * mask_BT).amax(dim=1)


def take(hidden_BTD: Tensor, position_B: Tensor) -> Tensor:
    """Return each row's hidden state at its position."""
    index_B1D = position_B[:, None, None].expand(-1, 1, hidden_BTD.shape[2])
    return hidden_BTD.gather(1, index_B1D).squeeze(1)


def average(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the mean over each row's real tokens.

    A matrix product adds token by token, so that zeros for padding leave every bit as it is; ONNX Runtime's ReduceSum
    adds in an order that depends on the padded length.
    """
    weight_BT = mask_BT.to(hidden_BTD.dtype)
    return _weighted_sum(hidden_BTD, weight_BT) / weight_BT.sum(dim=1, keepdim=True)


def attend(hidden_BTD: Tensor, mask_BT: Tensor, query_D: Tensor) -> Tensor:
    """Return each row's mean weighted by a softmax over its real tokens' agreement with a query.

    Source: Yang et al. 2016, "Hierarchical Attention Networks", equations 5-7, without their projection.
    """
    logits_BT = (hidden_BTD @ query_D) * hidden_BTD.shape[2] ** -0.5
    logits_BT = logits_BT.masked_fill(~mask_BT, torch.finfo(logits_BT.dtype).min)
    share_BT: Tensor = logits_BT.softmax(dim=1)
    return _weighted_sum(hidden_BTD, share_BT)


def _weighted_sum(hidden_BTD: Tensor, weight_BT: Tensor) -> Tensor:
    return (weight_BT[:, None, :] @ hidden_BTD).squeeze(1)
