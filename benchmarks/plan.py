"""What a 70B reward model on 64 GPUs needs: the trainer's own FSDP2 plan on the meta device, and a step simulated."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaModel

from benchmarks.harness import Row, main
from models.config import ModelConfig
from models.heads import build_head
from models.reward_model import RewardModel, layers
from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.tokens import TokenTree
from rewardlab.tokenstore import pack_trees, write_store
from steps.train import TrainConfig
from steps.train.groups import StoredGroups
from steps.train.order import divide, pair_up
from steps.train.world import World, spread

_ROW = 13
WORLD, GPUS_A_NODE = 64, 8
TOKENS, GROUP_TOKENS = 10e9, 500
FLOPS, USED = 989e12, 0.5
"""H100 SXM, bf16 without sparsity (its data sheet), and the share that matrix products of this size reach."""
LINK = 50e9
"""Bytes a second between nodes for each GPU: 400 Gb/s."""
PRICE = 2.5
"""Dollars for an H100 and an hour, an assumption."""
BUDGETS = (8192, 16384, 32768)
SHAPE: dict[str, Any] = {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "attn_implementation": "sdpa",
}
"""Llama 3.1 70B."""


def measure(quick: bool) -> Sequence[Row]:
    """Plan memory, simulate a step, and measure what of today's code grows with the size."""
    plan = _plan()
    rows = [_row(f"{name}", value / 1e9, "GB") for name, value in plan.items()]
    work = _layer(BUDGETS[0])
    rows += [_row(f"one layer, a token: {name}", value, unit) for name, (value, unit) in work.items()]
    for budget in BUDGETS:
        inputs, saved = (work[name][0] * budget for name in ("input kept", "kept within"))
        layer, root = plan["one layer whole, fp32"], plan["embeddings and norm whole, fp32"]
        copies = layer / 2  # bf16, which autocast makes and the backward pass keeps
        shards = plan["a GPU's weights, gradients and AdamW's memory"]
        peak = shards + 2 * root + 3 * layer + copies + SHAPE["num_hidden_layers"] * inputs + saved
        rows.append(_row(f"a GPU at its peak, {budget:,} tokens, recompute", peak / 1e9, "GB"))
        for bytes_each in (4, 2):
            rate = _throughput(budget, work["FLOP forward"][0], layer / 4, bytes_each)
            rows += _schedule(rate, f"{budget:,} tokens, gathers of {bytes_each} bytes")
    rows += [_row(f"idle GPUs, {size} groups a step", _idle(size), "share") for size in (128, 512, 2048)]
    return [*rows, *_host(plan), *_opening(500 if quick else 4000)]


def _row(name: str, value: float, unit: str) -> Row:
    return Row(row=_ROW, name=name, value=value, unit=unit, status="met")


def _config(num_layers: int) -> LlamaConfig:
    return LlamaConfig(**{**SHAPE, "num_hidden_layers": num_layers})  # type: ignore[no-untyped-call]


def _model(num_layers: int) -> RewardModel:
    head = build_head(ModelConfig(backbone="tiny"), SHAPE["hidden_size"], seed=0)
    return RewardModel(LlamaModel(_config(num_layers)), head, kind="causal")


def _plan() -> dict[str, float]:
    """Return bytes: what the trainer's own `spread` leaves on one of the GPUs, and what is gathered at a time."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=WORLD)
    try:
        with torch.device("meta"):
            model = _model(SHAPE["num_hidden_layers"])
        whole = sum(value.numel() for value in model.parameters())
        layer = sum(value.numel() for value in layers(model.backbone)[0].parameters())
        scorer = spread(model, World(rank=0, size=WORLD, device=torch.device("meta")), "fsdp")
        here = sum(_local(value) for value in scorer.parameters())
    finally:
        dist.destroy_process_group()
    return {
        "parameters, fp32": 4.0 * whole,
        "a GPU's weights, gradients and AdamW's memory": 16.0 * here,
        "one layer whole, fp32": 4.0 * layer,
        "embeddings and norm whole, fp32": 4.0 * (whole - SHAPE["num_hidden_layers"] * layer),
    }


def _local(value: nn.Parameter) -> int:
    assert isinstance(value, DTensor)
    return value.to_local().numel()


def _layer(length: int) -> dict[str, tuple[float, str]]:
    """Return what a layer costs for each token of a sequence, from models that differ by one layer."""
    kept, flops, inputs = zip(*(_forward(num, length) for num in (1, 2)), strict=True)
    return {
        "kept within": ((kept[1] - kept[0]) / length, "B"),
        "input kept": (inputs[0] / length, "B"),
        "FLOP forward": ((flops[1] - flops[0]) / length, "FLOP"),
    }


def _forward(num_layers: int, length: int) -> tuple[int, int, int]:
    """Return the bytes that the backward pass needs, the FLOP, and the bytes that enter a layer."""
    seen: dict[int, int] = {}
    inputs: list[int] = []
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        model = _model(num_layers)
        weights = {tuple(value.shape) for value in model.parameters()}

        def pack(value: torch.Tensor) -> torch.Tensor:
            if tuple(value.shape) not in weights and tuple(value.T.shape if value.ndim == 2 else ()) not in weights:
                storage = value.untyped_storage()
                seen[storage._cdata] = storage.nbytes()
            return value

        layers(model.backbone)[0].register_forward_pre_hook(
            lambda _module, given, named: inputs.append((given or tuple(named.values()))[0].nbytes), with_kwargs=True
        )
        ids = torch.zeros((1, length), dtype=torch.int64)
        keeping = torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value)
        with keeping, torch.autocast("cpu", dtype=torch.bfloat16):
            model(ids, torch.full((1,), length))
    return sum(seen.values()), counter.get_total_flops(), inputs[0]


def _throughput(budget: int, flop: float, parameters: float, bytes_each: int) -> float:
    """Return tokens a second of one GPU: each layer computes while the next is gathered, so the slower one counts.

    Forward gathers a layer; backward gathers it again, computes it again, and sums gradients in fp32. Ring collectives
    move (N - 1) / N of the bytes over each GPU's link.
    """
    compute = budget * flop / (FLOPS * USED)
    moved = (WORLD - 1) / WORLD * parameters / LINK
    forward = max(compute, moved * bytes_each)
    backward = max(3 * compute, moved * (bytes_each + 4))
    return float(budget / (SHAPE["num_hidden_layers"] * (forward + backward)))


def _schedule(rate: float, what: str) -> list[Row]:
    hours = TOKENS / (rate * WORLD) / 3600
    return [
        _row(f"an epoch, {what}", hours, "h"),
        _row(f"cost, {what}", hours * WORLD * PRICE / 1000, "k$"),
    ]


def _idle(groups_per_step: int) -> float:
    """Return the share of GPU time that is lost to unequal shares, by the trainer's own division of random groups."""
    source = np.random.default_rng(0)
    lost = []
    for _ in range(20):
        sizes = np.clip(source.lognormal(np.log(GROUP_TOKENS) - 0.32, 0.8, groups_per_step), 20, 8192).astype(int)
        totals = [sum(sizes[at] for at in share) for share in divide(sizes.tolist(), WORLD)]
        lost.append(1 - float(np.mean(totals)) / max(totals))
    return float(np.mean(lost))


def _host(plan: dict[str, float]) -> list[Row]:
    """Return what a node's memory holds where every process builds the whole model, and the first gathers its state."""
    whole = plan["parameters, fp32"]
    return [
        _row("a node's memory when the model is built", GPUS_A_NODE * whole / 1e12, "TB"),
        _row("the first node's memory at a checkpoint", 3 * whole / 1e12, "TB"),
    ]


def _opening(num: int) -> list[Row]:
    """Return what each process does with every group before its first step, measured on a few and multiplied."""
    groups, trees = zip(*(_group(at) for at in range(num)), strict=True)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "train"
        packed = pack_trees(zip(groups, trees, strict=True), aspects=["gold"])
        write_store(store, [packed], aspects=["gold"])
        stored = StoredGroups(store, TrainConfig(model=ModelConfig(backbone="tiny")))
        opened = _seconds(lambda: StoredGroups(store, TrainConfig(model=ModelConfig(backbone="tiny"))))
        sized = _seconds(lambda: [group.num_tokens for group in stored])
        paired = _seconds(lambda: pair_up(stored))
    total = TOKENS / GROUP_TOKENS
    each = (opened + sized + paired) / num
    rows = [_row("opening the data, a group", 1e6 * each, "us"), _row("opening all data", total * each / 3600, "h")]
    return [*rows, _row("ids on disk", 4 * TOKENS / 1e9, "GB")]


def _group(at: int) -> tuple[PreferenceGroup, TokenTree]:
    source = np.random.default_rng(at)
    prompt, first, second = (source.integers(0, SHAPE["vocab_size"], size).tolist() for size in (200, 150, 150))
    group = PreferenceGroup(
        id=f"group {at}",
        prompt=(Message("user", "q"),),
        responses=("a", "b"),
        comparisons=(Comparison(better=0, worse=1),),
    )
    return group, TokenTree(prompt, (first, second), (False, False))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(__doc__ or "", measure)
