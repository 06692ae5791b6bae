"""The reward model: a pretrained backbone and a reward head.

Shapes: B sequences, T tokens, D width.
"""

import logging
from operator import attrgetter
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from models.backbone import Kind, backbone_kind, load_backbone
from models.config import ModelConfig
from models.head import build_head
from models.lora import add_lora
from models.tree_attention import hidden_states
from models.tree_support import share_prompts
from models.trees import TreeBatch
from rewardlab.readout import Pooling

_LOG = logging.getLogger(__name__)


class RewardModel(nn.Module):
    """Scores right-padded sequences of token ids; traceable, since nothing depends on the values of its inputs."""

    def __init__(self, backbone: PreTrainedModel, head: nn.Module, *, kind: Kind) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.kind = kind

    @property
    def config(self) -> PretrainedConfig:
        """Return the backbone's configuration, which exporters ask for."""
        return self.backbone.config

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return one fp32 reward per row, rewards_B; row b of ids_BT is its first `lengths_B[b]` ids.

        With several heads there are more rewards of each row, as `RewardHeads` says.
        The arguments have the names that exporters give to the graph's inputs.
        """
        positions_T = torch.arange(input_ids.shape[1], device=input_ids.device)
        mask_BT = positions_T[None, :] < lengths[:, None]
        hidden_BTD = self.backbone(
            input_ids=input_ids, attention_mask=self._attention_mask(mask_BT, positions_T)
        ).last_hidden_state
        rewards_B: Tensor = self.head(hidden_BTD, mask_BT)
        return rewards_B

    def recompute_layers(self) -> None:
        """Keep no activations within layers when training: they are computed again in the backward pass."""
        self.backbone.gradient_checkpointing_enable(  # type: ignore[no-untyped-call]
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )

    def share_prompts(self) -> bool:
        """Prepare for token trees and return True, or log why they cannot be read exactly and return False."""
        if self.kind == "encoder":
            reason = "in an encoder the prompt sees the response"
        else:
            reason = share_prompts(self.backbone)
        if reason:
            name = type(self.backbone).__name__
            _LOG.warning("%s shares no prompts, because %s: batches are sorted by length instead", name, reason)
        return not reason

    def score_trees(self, batch: TreeBatch) -> Tensor:
        """Return one fp32 reward per response, rewards_B as `forward`, with each prompt computed once."""
        hidden_BLD = hidden_states(self.backbone, batch)[batch.places_BL]
        positions_L = torch.arange(batch.places_BL.shape[1], device=batch.places_BL.device)
        rewards_B: Tensor = self.head(hidden_BLD, positions_L[None, :] < batch.lengths_B[:, None])
        return rewards_B

    def _attention_mask(self, mask_BT: Tensor, positions_T: Tensor) -> Tensor | None:
        """Return what the backbone needs: padding on the right is out of sight of a causal one.

        The exporter gets the causal mask as a tensor: transformers makes its own with vmap, which has no ONNX form.
        """
        if self.kind == "encoder":
            return mask_BT.long()
        if torch.onnx.is_in_onnx_export():
            sees_TT = positions_T[None, :] <= positions_T[:, None]
            return torch.where(sees_TT, 0.0, torch.finfo(torch.float32).min)[None, None]
        return None


def build_model(config: ModelConfig, folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> RewardModel:
    """Build the reward model on a prepared backbone: head seeded and in fp32, backbone in `dtype`.

    Raises:
        ValueError: the pooling cannot work with the backbone, or there are fewer layers than are to be frozen.
    """
    kind = backbone_kind(folder)
    check_pooling(config.pooling, kind)
    backbone = load_backbone(folder, dropout=config.dropout, dtype=dtype)
    freeze_lower(backbone, config.freeze_layers)
    if config.lora_rank:
        upper = layers(backbone)[config.freeze_layers :]
        add_lora(backbone, upper, rank=config.lora_rank, alpha=config.lora_alpha, dropout=config.dropout, seed=seed)
    return RewardModel(backbone, build_head(config, backbone.config.hidden_size, seed=seed), kind=kind)


def check_pooling(pooling: Pooling, kind: Kind) -> None:
    """Refuse a read-out that cannot see the response."""
    if pooling == "cls" and kind == "causal":
        raise ValueError("cls pooling reads the first token, which in a causal backbone sees no other: use last_token")


def freeze_lower(backbone: PreTrainedModel, num_layers: int) -> None:
    """Freeze the embeddings and the lower layers: autograd then records nothing of them.

    Raises:
        ValueError: the backbone has fewer layers.
    """
    if num_layers == 0:
        return
    stack = layers(backbone)
    if num_layers > len(stack):
        raise ValueError(f"freeze_layers is {num_layers}, the backbone has {len(stack)} layers")
    upper = {id(parameter) for layer in stack[num_layers:] for parameter in layer.parameters()}
    last = list(stack[num_layers - 1].parameters())[-1]
    for parameter in backbone.parameters():  # in order of registration: embeddings, layers, final norm
        parameter.requires_grad_(id(parameter) in upper)
        if parameter is last:
            return


def layers(backbone: PreTrainedModel) -> nn.ModuleList:
    """Return the layers of a backbone.

    Raises:
        ValueError: they are not where those of known architectures are.
    """
    for path in ("layers", "h", "encoder.layer", "decoder.layers", "transformer.layer"):
        try:
            found = attrgetter(path)(backbone)
        except AttributeError:
            continue
        if isinstance(found, nn.ModuleList):
            return found
    raise ValueError(f"the layers of a {type(backbone).__name__} are not known: set freeze_layers to 0")
