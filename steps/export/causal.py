"""A causal reward model as an ONNX graph that reads responses against a prompt it has read before.

Shapes: B responses, T tokens of the longest one, P of the prompt, L layers, K key-value heads, E width of a head,
D width.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from steps.export.prefix_attention import OwnAttentionError, Prefix, Rows, attend_to_prefixes, hidden_states

if TYPE_CHECKING:
    from models.reward_model import RewardModel


class ResponseScorer(nn.Module):
    """Scores responses against a prompt's keys and values, and returns their own.

    The graph's inputs are `input_ids` [B, T], `lengths` [B], `past_length` [] and `past.N.key`, `past.N.value`
    [1, K, P, E] of each layer; its outputs `rewards` [B], `aspects` [B, A] where there are any, and `present.*`
    [B, K, T, E]. A prompt is read as the one response to an empty prompt, with P = 0; what it leaves in `present.*` is
    `past.*` for its responses. Where the pooling reads the prompt's hidden states too, `past.hidden` [1, P, D] carries
    them.
    """

    def __init__(self, model: "RewardModel", *, has_aspects: bool) -> None:
        super().__init__()
        self.backbone, self.head, self.has_aspects = model.backbone, model.head, has_aspects
        self.pools_prompt = model.head.pooling != "last_token"

    def forward(self, input_ids: Tensor, lengths: Tensor, past_length: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Return rewards_B and what the responses leave behind, in the order of `past`."""
        # 1. Read the responses behind the prompt's keys and values.
        layers = past[1:] if self.pools_prompt else past
        keys_and_values = list(zip(layers[::2], layers[1::2], strict=True))
        num_layers = self.backbone.config.get_text_config().num_hidden_layers
        rows = None if self.pools_prompt else Rows(lengths, input_ids.shape[1], num_layers=num_layers)
        prefix = Prefix(keys_and_values, past_length, rows=rows)
        own_BTD = hidden_states(self.backbone, input_ids, prefix)

        # 2. Pool: the responses alone, or with the prompt in front of each.
        hidden, mask = own_BTD, torch.arange(input_ids.shape[1])[None, :] < lengths[:, None]
        if self.pools_prompt and past:
            hidden, mask = _behind(past[0], past_length, own_BTD, mask)
        rewards = self.head(hidden, mask)

        # 3. Return the rewards, then what the next responses would be read behind.
        scores = (rewards[0], rewards[1:].T) if self.has_aspects else (rewards,)
        left_behind = [own_BTD] if self.pools_prompt else []
        for key_and_value in prefix.present:
            left_behind.extend(key_and_value)
        return *scores, *left_behind


def _behind(prompt_1PD: Tensor, length: Tensor, own_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return hidden states and mask of prompt and response in one row."""
    real_P = torch.arange(prompt_1PD.shape[1]) < length
    prompt_BPD = prompt_1PD.expand(own_BTD.shape[0], -1, -1)
    mask_BS = torch.cat([real_P[None, :].expand(own_BTD.shape[0], -1), mask_BT], dim=1)
    return torch.cat([prompt_BPD, own_BTD], dim=1), mask_BS


def why_not_shared(model: "RewardModel") -> str:
    """Return why the model's graph cannot read a prompt once for its responses; nothing where it can.

    The backbone reads a few tokens behind an empty prompt: whatever else goes wrong is raised.
    """
    if model.kind == "encoder":
        return "in an encoder the prompt sees the response"
    try:
        with _reading_prefixes(model), torch.no_grad():
            hidden_states(model.backbone, torch.zeros((1, 8), dtype=torch.long), Prefix([], torch.tensor(0)))
    except OwnAttentionError as error:
        return str(error)
    return ""


def write_causal(model: "RewardModel", target: Path, *, has_aspects: bool, opset: int) -> None:
    """Write the graph of a `ResponseScorer`.

    torch's own tracer is used, whatever the versions of optimum and transformers.

    Raises:
        OwnAttentionError: the backbone's attention cannot be given a prompt's keys and values: see `why_not_shared`.
    """
    with _reading_prefixes(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every constant it folds; parity is measured afterwards
        scorer = ResponseScorer(model, has_aspects=has_aspects).eval()
        scores = ["rewards", "aspects"] if has_aspects else ["rewards"]
        ids, lengths = torch.arange(32).reshape(2, 16) % model.config.vocab_size, torch.tensor([16, 11])
        left = scorer(ids[:1], lengths[:1], torch.tensor(0))[len(scores) :]
        layers = [f"{layer}.{part}" for layer in range(len(left) // 2) for part in ("key", "value")]
        names = ["hidden", *layers] if scorer.pools_prompt else layers
        axes = {name: 1 if name == "hidden" else 2 for name in names}
        torch.onnx.export(
            scorer,
            (ids, lengths, torch.tensor(7), *left),
            target,
            input_names=["input_ids", "lengths", "past_length", *(f"past.{name}" for name in names)],
            output_names=[*scores, *(f"present.{name}" for name in names)],
            dynamic_axes={
                "input_ids": {0: "responses", 1: "tokens"},
                "lengths": {0: "responses"},
                **{name: {0: "responses"} for name in scores},
                **{f"past.{name}": {axis: "prompt"} for name, axis in axes.items()},
                **{f"present.{name}": {0: "responses", axis: "tokens"} for name, axis in axes.items()},
            },
            opset_version=opset,
            dynamo=False,
        )


@contextmanager
def _reading_prefixes(model: "RewardModel") -> Iterator[None]:
    """Let the backbone attend to prefixes within the block."""
    usual = model.backbone.config._attn_implementation
    try:
        attend_to_prefixes(model.backbone)
        yield
    finally:
        model.backbone.set_attn_implementation(usual)
