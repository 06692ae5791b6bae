"""Attention within token trees: a prompt sees itself, a response sees its group's prompt and itself.

Shapes: H heads, T tokens of the row, P of a prompt, K responses, R tokens of the longest one, E width of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from models.trees import Tree, TreeBatch

NAME = "rewardlab_trees"


def can_share(backbone: PreTrainedModel) -> bool:
    """Say whether the backbone's attention is plain: no window shorter than its context, no soft cap, no sinks."""
    config = backbone.config
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return not window and not getattr(config, "attn_logit_softcapping", None)


def share_prompts(backbone: PreTrainedModel) -> None:
    """Let a causal backbone accept token trees; whatever else it is given, it reads as before."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
    backbone.set_attn_implementation(NAME)


def hidden_states(backbone: PreTrainedModel, batch: TreeBatch) -> Tensor:
    """Return the last layer's hidden states of the row, hidden_TD.

    The mask, which nobody reads, is there so that transformers makes none of its own over the whole row.
    """
    unread = torch.empty((1, 1, 0, 0), device=batch.ids_T.device)
    found = backbone(
        input_ids=batch.ids_T[None],
        position_ids=batch.positions_T[None],
        attention_mask=unread,
        trees=batch.trees,
    )
    hidden_TD: Tensor = found.last_hidden_state[0]
    return hidden_TD


def _attention(  # noqa: PLR0913 (the signature that transformers calls)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    trees: Sequence[Tree] | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attend over query, key and value `[1, H, T, E]`; return `[1, T, H, E]`.

    Raises:
        ValueError: the backbone did not hand the trees on.
    """
    if trees is None:
        if attention_mask is not None and not attention_mask.numel():
            raise ValueError(f"{type(module).__name__} is not told where the token trees are: it cannot share prompts")
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **rest
        )
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    options = {"scale": scaling, "dropout_p": dropout}
    read = [
        _tree(
            tree,
            query[0, :, tree.start : tree.end],
            key[0, :, tree.start : tree.end],
            value[0, :, tree.start : tree.end],
            options,
        )
        for tree in trees
    ]
    return torch.cat(read, dim=1).transpose(0, 1)[None], None


def _tree(tree: Tree, query_HTE: Tensor, key_HTE: Tensor, value_HTE: Tensor, options: dict[str, Any]) -> Tensor:
    """Return what the tokens of one tree read, read_HTE."""
    sizes = [tree.prompt, *tree.responses]
    (query_HPE, *queries), (key_HPE, *keys), (value_HPE, *values) = (
        torch.split(each, sizes, dim=1) for each in (query_HTE, key_HTE, value_HTE)
    )
    prompt_HPE = scaled_dot_product_attention(
        query_HPE[None], key_HPE[None], value_HPE[None], is_causal=True, **options
    )[0]
    longest = max(tree.responses)
    key_KHSE, value_KHSE = (
        torch.cat([shared[None].expand(len(own), -1, -1, -1), _stack(own, longest)], dim=2)
        for shared, own in ((key_HPE, keys), (value_HPE, values))
    )
    sees_RS = torch.ones(longest, tree.prompt + longest, dtype=torch.bool, device=query_HTE.device).tril(tree.prompt)
    read_KHRE = scaled_dot_product_attention(
        _stack(queries, longest), key_KHSE, value_KHSE, attn_mask=sees_RS, **options
    )
    return torch.cat(
        [prompt_HPE, *(row[:, :length] for row, length in zip(read_KHRE, tree.responses, strict=True))], dim=1
    )


def _stack(rows: Sequence[Tensor], longest: int) -> Tensor:
    """Stack rows_HRE, padded behind their ends."""
    return torch.stack([pad(row, (0, 0, 0, longest - row.shape[1])) for row in rows])
