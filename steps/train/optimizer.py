"""AdamW with a schedule, and what of them a checkpoint holds."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from steps.train.config import TrainConfig
from steps.train.world import part, whole

Parameters = Mapping[str, nn.Parameter]


def make_optimizer(parameters: Parameters, config: TrainConfig, num_steps: int) -> tuple[AdamW, LambdaLR]:
    """Return the optimizer and its schedule: the head learns faster, vectors (norms, biases) are not decayed."""
    groups: list[dict[str, list[nn.Parameter] | float]] = []
    for is_head in (False, True):
        for is_matrix in (False, True):
            chosen = [
                value
                for name, value in parameters.items()
                if name.startswith("head.") == is_head and (value.ndim >= 2) == is_matrix
            ]
            if chosen:
                rate = config.head_learning_rate if is_head else config.learning_rate
                groups.append({"params": chosen, "lr": rate, "weight_decay": config.weight_decay if is_matrix else 0.0})
    optimizer = AdamW(groups, betas=(0.9, 0.999), fused=True)
    return optimizer, LambdaLR(optimizer, pace(config, num_steps))


def pace(config: TrainConfig, num_steps: int) -> Callable[[int], float]:
    """Return the share of the learning rate at each step: linear warm-up, then decay to 0."""
    warmup = max(1, round(config.warmup_share * num_steps))

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        left = (num_steps - step) / max(1, num_steps - warmup)
        if config.decay == "linear":
            return left
        return 1.0 if config.decay == "constant" else 0.5 * (1 + math.cos(math.pi * (1 - left)))

    return share


def moving(model: nn.Module) -> Parameters:
    """Return the parameters that training changes, by name.

    Ask once, when the model has been spread: between forward and backward FSDP2 puts whole tensors in their place.
    """
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def captured(parameters: Parameters, optimizer: AdamW, *, keep: bool) -> dict[str, Tensor]:
    """Return the weights that move and the optimizer's memory of them, whole; all processes must ask.

    Those that do not `keep` them get nothing, and hold one tensor at a time.
    """
    tensors = {}
    for name, value in parameters.items():
        held = {f"weights.{name}": value}
        held |= {f"optimizer.{key}.{name}": memory for key, memory in optimizer.state[value].items()}
        for label, tensor in held.items():
            full = whole(tensor)
            if keep:
                tensors[label] = full
    return tensors


@torch.no_grad()
def restore(parameters: Parameters, optimizer: AdamW, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `captured` returned; all processes must."""
    for name, value in parameters.items():
        value.copy_(part(tensors[f"weights.{name}"], value))
        optimizer.state[value] = {
            "step": tensors[f"optimizer.step.{name}"].to(value.device),  # where the fused kernel counts
            "exp_avg": part(tensors[f"optimizer.exp_avg.{name}"], value),
            "exp_avg_sq": part(tensors[f"optimizer.exp_avg_sq.{name}"], value),
        }


def weights_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights among a checkpoint's tensors, by the model's names."""
    return {name.removeprefix("weights."): value for name, value in tensors.items() if name.startswith("weights.")}
