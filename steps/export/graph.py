"""The reward model as an ONNX graph, through optimum's exporter with a configuration of our own."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.reward_model import RewardModel

OPSET = 18


def write_onnx(model: "RewardModel", target: Path) -> None:
    """Export `input_ids` [B, T] and `lengths` [B] to `rewards` [B].

    The scored position comes from lengths inside the graph, so no pad id can move it, and any pooling and head exports.
    """
    import torch
    from optimum.exporters.onnx import export
    from optimum.exporters.onnx.base import OnnxConfig
    from optimum.utils import NormalizedTextConfig
    from optimum.utils.input_generators import DummyInputGenerator

    class TokensAndLengths(DummyInputGenerator):
        SUPPORTED_INPUT_NAMES = ("input_ids", "lengths")

        def __init__(self, _task: str, config: Any, **_shapes: int) -> None:
            self._vocabulary = config.vocab_size

        def generate(self, input_name: str, **_options: str) -> torch.Tensor:
            if input_name == "lengths":
                return torch.tensor([16, 11])
            ids: torch.Tensor = torch.arange(32).reshape(2, 16) % self._vocabulary
            return ids

    class RewardOnnxConfig(OnnxConfig):
        NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
        DUMMY_INPUT_GENERATOR_CLASSES = (TokensAndLengths,)
        DEFAULT_ONNX_OPSET = OPSET

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return {"input_ids": {0: "batch", 1: "tokens"}, "lengths": {0: "batch"}}

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            return {"rewards": {0: "batch"}}

    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every constant it folds; parity is measured afterwards
        export(model, RewardOnnxConfig(model.config, task="feature-extraction"), target, opset=OPSET)
