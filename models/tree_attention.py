"""Attention within token trees: a prompt sees itself, a response sees its group's prompt and itself.

Shapes: H heads, T tokens of the row, E width of a head.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import dropout, scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from models.tree_masks import Row, additive
from models.trees import TreeBatch

NAME = "rewardlab_trees"
_SHORT = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a layer looks: `window` counts positions, `cap` bounds the logits as cap tanh(logit / cap)."""

    scale: float
    dropout: float
    window: int | None
    cap: float | None


def register() -> None:
    """Make this attention known to transformers by its name."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)


def hidden_states(backbone: PreTrainedModel, batch: TreeBatch) -> Tensor:
    """Return the last layer's hidden states of the row, hidden_TD."""
    hidden_TD: Tensor = backbone(**inputs(batch, Row(batch.trees, batch.ids_T.device))).last_hidden_state[0]
    return hidden_TD


def inputs(batch: TreeBatch, row: Row) -> dict[str, Tensor | Row]:
    """Return what a backbone, or a language model, is called with to read a row.

    The mask, which nobody reads, is there so that transformers makes none of its own over the whole row.
    """
    return {
        "input_ids": batch.ids_T[None],
        "position_ids": batch.positions_T[None],
        "attention_mask": torch.empty((1, 1, 0, 0), device=batch.ids_T.device),
        "trees": row,
    }


def _attention(  # noqa: PLR0913 (the signature that transformers calls)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    trees: Row | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attend over query, key and value `[B, H, T, E]`; return `[B, T, H, E]`.

    Raises:
        ValueError: the backbone did not hand the trees on.
    """
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    look = Look(scale=scale, dropout=dropout, window=sliding_window, cap=softcap)
    if trees is not None:
        attend = in_blocks if query.is_cuda else by_group
        query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast, rotation leaves them in fp32
        return attend(query, key, value, trees, look).transpose(1, 2).contiguous(), None
    if attention_mask is not None and not attention_mask.numel():
        raise ValueError(f"{type(module).__name__} is not told where the token trees are: it cannot share prompts")
    if softcap is not None:
        mask = None if attention_mask is None else additive(attention_mask, query.dtype)
        return _read(query, key, value, mask, look).transpose(1, 2).contiguous(), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **rest)


def by_group(query: Tensor, key: Tensor, value: Tensor, row: Row, look: Look) -> Tensor:
    """Return what each token reads `[1, H, T, E]`: tree by tree the prompt, then all responses at once.

    A response's look at its siblings is computed and masked, other trees are out of sight; nothing is padded.
    """
    sizes = [tree.end - tree.start for tree in row.trees]
    queries, keys, values = (torch.split(tensor, sizes, dim=2) for tensor in (query, key, value))
    masks = row.masks(look.window, query.dtype)
    read = []
    for tree, mask, own_query, own_key, own_value in zip(row.trees, masks, queries, keys, values, strict=True):
        of_prompt, of_responses = own_query.tensor_split([tree.prompt], dim=2)
        prompt_key, prompt_value = own_key[:, :, : tree.prompt], own_value[:, :, : tree.prompt]
        read.append(_read(of_prompt, prompt_key, prompt_value, mask.prompt_PP, look))
        read.append(_read(of_responses, own_key, own_value, mask.responses_RS, look))
    return torch.cat(read, dim=2)


def in_blocks(query: Tensor, key: Tensor, value: Tensor, row: Row, look: Look) -> Tensor:
    """Return the same by FlexAttention, which leaves out blocks of the row that are masked.

    Raises:
        ValueError: there is dropout, which FlexAttention has not.
    """
    if look.dropout:
        raise ValueError(f"FlexAttention has no dropout, and attention's is {look.dropout}: set dropout to 0")
    attend = _compiled_flex() if query.is_cuda else flex_attention
    options = {"scale": look.scale, "enable_gqa": query.shape[1] != key.shape[1]}
    read: Tensor = attend(query, key, value, score_mod=_capped(look.cap), block_mask=row.blocks(look.window), **options)
    return read


def _read(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, look: Look) -> Tensor:
    """Return what queries read of keys and values; without a mask, each of what came before it and itself.

    In low precision torch's CPU kernel takes three times as long as the softmax written out, which in turn keeps the
    logits for the backward pass: it is for trees whose logits take no more memory than their other activations.
    """
    if look.cap is not None or (query.dtype != torch.float32 and key.shape[2] <= _SHORT):
        return _read_openly(query, key, value, mask, look)
    key, value = (repeat_kv(each, query.shape[1] // key.shape[1]) for each in (key, value))
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=look.scale, dropout_p=look.dropout
    )


def _read_openly(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, look: Look) -> Tensor:
    """Return the same with the softmax written out, and logits capped if they are to be (Gemma 2, section 2).

    Heads that share keys and values lie side by side, as if they were more queries of one head.
    """
    batch, num_shared, num_keys, width = key.shape
    num_queries = query.shape[2]

    # 1. The logits, [batch, heads that share keys, queries of all of them, keys].
    stacked = (query * look.scale).reshape(batch, num_shared, -1, width)
    logits = stacked @ key.transpose(2, 3)
    if look.cap is not None:
        logits = look.cap * torch.tanh(logits / look.cap)

    # 2. What each query may see, added for each head apart.
    if mask is None:
        earlier = torch.ones((num_queries, num_keys), dtype=torch.bool, device=logits.device).tril()
        mask = additive(earlier, logits.dtype)
    by_head = mask if mask.ndim == 2 else mask[:, :, None]
    masked = logits.view(batch, num_shared, -1, num_queries, num_keys) + by_head

    # 3. The values, by their shares.
    share = masked.softmax(dim=4).view(logits.shape)
    return (dropout(share, look.dropout) @ value).reshape(query.shape)


@cache
def _compiled_flex() -> Any:
    return torch.compile(flex_attention, dynamic=True)


@cache
def _capped(cap: float | None) -> Any:
    if cap is None:
        return None

    def bound(score: Tensor, *_place: Tensor) -> Tensor:
        return cap * torch.tanh(score / cap)

    return bound
