"""Low-rank adapters on a backbone, by peft: put in before training, merged before anything is written."""

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


def add_lora(
    backbone: PreTrainedModel, layers: nn.ModuleList, *, rank: int, alpha: int, dropout: float, seed: int
) -> None:
    """Freeze the backbone and give every linear map of some of its layers W the update alpha / rank * B A.

    Source: Hu et al. 2022, "LoRA", section 4.1; on every linear map as in Dettmers et al. 2023, "QLoRA", section 4. B
    starts as zero and A from the seed alone, so that rewards start as they were.
    """
    linear = {id(module) for layer in layers for module in layer.modules() if isinstance(module, (nn.Linear, Conv1D))}
    names = [name for name, module in backbone.named_modules() if id(module) in linear]
    transposed = any(isinstance(backbone.get_submodule(name), Conv1D) for name in names)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names, fan_in_fan_out=transposed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, backbone)


def merge_lora(backbone: PreTrainedModel) -> None:
    """Add what the adapters learned to the backbone's own weights and take the adapters out; without any, do nothing.

    Raises:
        ValueError: a merged weight is not finite.
    """
    adapted = [(name, module) for name, module in backbone.named_modules() if isinstance(module, LoraLayer)]
    for name, module in adapted:
        module.merge(safe_merge=True)
        backbone.set_submodule(name, module.get_base_layer())
