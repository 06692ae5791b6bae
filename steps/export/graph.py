"""The reward model as an ONNX graph: causal ones share prompts, others go through optimum's exporter."""

import copy
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.reward_model import RewardModel

_LOG = logging.getLogger(__name__)
OPSET = 18


def write_onnx(model: "RewardModel", target: Path, *, has_aspects: bool = False) -> str:
    """Export a graph that shares prompts, or where the backbone cannot, one that reads whole sequences.

    Returns:
        Why prompts are not shared; nothing where they are.
    """
    import onnx

    from steps.export.causal import why_not_shared, write_causal
    from steps.export.sizes import share_sizes

    model.eval()
    if reason := why_not_shared(model):
        name = type(model.backbone).__name__
        _LOG.warning("the graph of %s reads each prompt with each response, because %s", name, reason)
        write_whole(model, target, has_aspects=has_aspects)
    else:
        write_causal(model, target, has_aspects=has_aspects, opset=OPSET)
    graph = onnx.load(target)
    share_sizes(graph)
    onnx.save(graph, target)
    return reason


def write_half(model: "RewardModel", target: Path, *, has_aspects: bool = False) -> None:
    """Export the model in fp16, for GPUs: backbone and keys and values in half precision, the head in fp32.

    Norms compute in fp32 where transformers lets them.
    """
    half = copy.deepcopy(model)
    half.backbone.half()  # type: ignore[no-untyped-call]
    write_onnx(half, target, has_aspects=has_aspects)


def write_whole(model: "RewardModel", target: Path, *, has_aspects: bool) -> None:
    """Export `input_ids` [B, T] and `lengths` [B] to `rewards` [B] and, where there are aspects, `aspects` [B, A].

    A row holds prompt and response.

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

        def generate(self, input_name: str, framework: str = "pt", **_options: str) -> Any:
            lengths, ids = torch.tensor([16, 11]), torch.arange(32).reshape(2, 16) % self._vocabulary
            made = lengths if input_name == "lengths" else ids
            return made.numpy() if framework == "np" else made

    class RewardOnnxConfig(OnnxConfig):
        NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
        DUMMY_INPUT_GENERATOR_CLASSES = (TokensAndLengths,)
        DEFAULT_ONNX_OPSET = OPSET

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return {"input_ids": {0: "batch", 1: "tokens"}, "lengths": {0: "batch"}}

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            return {name: {0: "batch"} for name in (("rewards", "aspects") if has_aspects else ("rewards",))}

    class Named(torch.nn.Module):
        """The model with an output for each name."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.config = model.config

        def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
            rewards = self.model(input_ids, lengths)
            return (rewards[0], rewards[1:].T) if has_aspects else (rewards,)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every constant it folds; parity is measured afterwards
        export(Named(), RewardOnnxConfig(model.config, task="feature-extraction"), target, opset=OPSET)
