"""The graph in fp16, for GPUs: backbone and keys and values in half precision, the head in fp32."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from steps.export.graph import write_onnx

if TYPE_CHECKING:
    from models.reward_model import RewardModel


def write_half(model: "RewardModel", target: Path, *, has_aspects: bool = False) -> None:
    """Export the model with its backbone in fp16; norms compute in fp32 where transformers lets them."""
    half = copy.deepcopy(model)
    half.backbone.half()  # type: ignore[no-untyped-call]
    write_onnx(half, target, has_aspects=has_aspects)
