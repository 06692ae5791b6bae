"""Attention of responses to a prompt that was read before: its keys and values come from outside.

Shapes: B responses, H heads, K key-value heads, T tokens of a response, P of the prompt, S = P + T, E width of a head,
W rows of a response whose last hidden states are asked for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rewardlab.readout import LENGTH_MULTIPLE

NAME = "rewardlab_prefix"

KeysAndValues = tuple[Tensor, Tensor]


class OwnAttentionError(ValueError):
    """A backbone's attention is its own: it cannot be given a prompt's keys and values."""


class Rows:
    """The last W tokens of each response: the only ones that the last layer computes where no others are scored.

    They are as many as the shortest padded response has, so that kernels add up in the same order for all.

    Args:
        lengths_B: how many tokens of each response are real.
        num_tokens: T, the padding included.
        num_layers: how many layers there are.
    """

    def __init__(self, lengths_B: Tensor, num_tokens: int, *, num_layers: int) -> None:
        self.num_layers = num_layers
        rows_W, first_B1 = torch.arange(LENGTH_MULTIPLE), lengths_B[:, None] - LENGTH_MULTIPLE
        self.places_BW = (first_B1 + rows_W).clamp(min=0)
        self._row_BT = (torch.arange(num_tokens) - first_B1).clamp(0, LENGTH_MULTIPLE - 1)
        self._response_B1 = torch.arange(lengths_B.shape[0])[:, None]

    def pick(self, hidden_BTD: Tensor) -> Tensor:
        """Return the rows, picked_BWD."""
        return hidden_BTD[self._response_B1, self.places_BW]

    def put_back(self, picked_BWD: Tensor) -> Tensor:
        """Return the rows at their places, hidden_BTD; the other places hold one of them too, which nobody reads."""
        return picked_BWD[self._response_B1, self._row_BT]


class Prefix:
    """What one forward pass is told of its prompt, and the keys and values it leaves behind, layer by layer.

    Args:
        past: keys and values of the prompt, each `[1, K, P, E]`, one pair a layer, the same for all responses; empty
            where there is no prompt.
        length: how many of the P positions are real, a scalar; the others lie behind them and are not seen.
        rows: those that are asked of the last layer; by default all.
    """

    def __init__(self, past: Sequence[KeysAndValues], length: Tensor, *, rows: Rows | None = None) -> None:
        self.past = past
        self.length = length
        self.rows = rows
        self.present: list[KeysAndValues] = []
        self._biases: dict[int | None, Tensor] = {}

    def positions(self, num_tokens: int) -> Tensor:
        """Return the position of each token of a response, behind the prompt's real ones."""
        positions_T: Tensor = self.length + torch.arange(num_tokens, device=self.length.device)
        return positions_T

    def extend(self, own: KeysAndValues) -> KeysAndValues:
        """Return the next layer's keys and values, those of the prompt before the responses' own, `[B, K, S, E]`."""
        layer = len(self.present)
        self.present.append(own)
        if not self.past:
            return own
        key, value = (
            torch.cat([past.expand(each.shape[0], -1, -1, -1), each], dim=2)
            for past, each in zip(self.past[layer], own, strict=True)
        )
        return key, value

    @property
    def asked(self) -> Rows | None:
        """Return the rows that are asked of the layer whose keys and values came last; nothing where they are all."""
        return self.rows if self.rows and len(self.present) == self.rows.num_layers else None

    def bias(self, query: Tensor, window: int | None) -> Tensor:
        """Return what is added to the scores, bias_TS: 0 for what a token sees, the lowest number for the rest."""
        if window not in self._biases:
            self._biases[window] = self._bias(query, window)
        return self._biases[window]

    def _bias(self, query: Tensor, window: int | None) -> Tensor:
        own_T = self.positions(query.shape[2])
        prompt_P = torch.arange(self.past[0][0].shape[2] if self.past else 0, device=query.device)

        # a token sees the prompt without its padding, and of the response what stands before it and itself
        sees_prompt_TP = (prompt_P < self.length)[None, :].expand(query.shape[2], -1)
        sees_own_TT = own_T[None, :] <= own_T[:, None]
        sees_TS = torch.cat([sees_prompt_TP, sees_own_TT], dim=1)

        if window is not None:
            distance_TS = own_T[:, None] - torch.cat([prompt_P, own_T])[None, :]
            sees_TS = sees_TS & (distance_TS < window)
        return torch.where(sees_TS, 0.0, torch.finfo(query.dtype).min).to(query.dtype)


def attend_to_prefixes(backbone: PreTrainedModel) -> None:
    """Let a causal backbone's forward take `prefix=`.

    Raises:
        OwnAttentionError: its attention cannot be replaced.
    """
    ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
    backbone.set_attn_implementation(NAME)
    if backbone.config._attn_implementation != NAME:
        raise OwnAttentionError(f"the attention of a {type(backbone).__name__} is its own and cannot be replaced")


def hidden_states(backbone: PreTrainedModel, ids_BT: Tensor, prefix: Prefix) -> Tensor:
    """Return the last layer's hidden states of the responses, hidden_BTD; `prefix.present` is filled.

    Of `prefix.rows` alone, where they are given, the others' places hold anything. The mask, which nobody reads, is
    there so that transformers makes none of its own.

    Raises:
        OwnAttentionError: the backbone did not hand the prefix on, or its attention has sinks.
    """
    with _last_mlp_reads(prefix.rows, backbone):
        found = backbone(
            input_ids=ids_BT,
            position_ids=prefix.positions(ids_BT.shape[1])[None],
            attention_mask=torch.empty((1, 1, 0, 0), device=ids_BT.device),
            use_cache=False,
            prefix=prefix,
        )
    hidden_BTD: Tensor = found.last_hidden_state
    return hidden_BTD


@contextmanager
def _last_mlp_reads(rows: Rows | None, backbone: PreTrainedModel) -> Iterator[None]:
    """Let the last layer's MLP, by whose name transformers calls it, read these rows alone."""
    mlps = [module for name, module in backbone.named_modules() if name.endswith(".mlp")]
    if rows is None or len(mlps) != rows.num_layers:
        yield
        return
    hooks = (
        mlps[-1].register_forward_pre_hook(lambda _mlp, given: rows.pick(given[0])),
        mlps[-1].register_forward_hook(lambda _mlp, _given, found: rows.put_back(found)),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _attention(  # noqa: PLR0913 (the signature that transformers calls)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    prefix: Prefix | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attend over query `[B, H, T, E]`, key and value `[B, K, T, E]`; return `[B, T, H, E]`.

    Heads that share keys are one matrix, so that no key is repeated for them.

    Raises:
        OwnAttentionError: the backbone did not hand the prefix on, or its attention has sinks.
    """
    if prefix is None or rest.get("s_aux") is not None:
        raise OwnAttentionError(f"{type(module).__name__} cannot read responses against a prompt that was read before")
    key_BKSE, value_BKSE = prefix.extend((key, value))
    rows, bias = prefix.asked, prefix.bias(query, sliding_window)
    if rows is not None:
        query, bias = rows.pick(query.transpose(1, 2)).transpose(1, 2), bias[rows.places_BW][:, None]
    heads, shared, width = (int(size) for size in (query.shape[1], key.shape[1], key.shape[3]))  # the same for all
    batch, tokens = key.shape[0], key.shape[2] if rows is None else rows.places_BW.shape[1]
    products = query.reshape(batch, shared, heads // shared * tokens, width) @ key_BKSE.transpose(2, 3)
    scores = products * (width**-0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    shares = (scores.reshape(batch, heads, tokens, -1) + bias).softmax(dim=-1)
    read = shares.reshape(batch, shared, heads // shared * tokens, -1) @ value_BKSE
    read_BTHE = read.reshape(batch, heads, tokens, width).transpose(1, 2)
    return read_BTHE if rows is None else rows.put_back(read_BTHE), None
