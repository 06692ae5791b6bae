"""The processes that train together: who this one is, sums over all, and the model spread over them."""

import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from models.batches import Batch
from models.reward_model import RewardModel, layers
from models.trees import TreeBatch

Parallel = Literal["ddp", "fsdp"]

_KEPT: list[object] = []
"""Process groups, kept so that DDP's reference is never the last: its end waits for gloo's thread while it holds the
interpreter's lock, which that thread may be waiting for (torch 2.13)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """One of `size` processes, the `rank`-th, and the device it works on."""

    rank: int = 0
    size: int = 1
    device: torch.device

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, on the CPU; integers stay integers."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def max(self, value: int) -> int:
        """Return the largest of all processes' values."""
        return int(self._reduced(torch.tensor(value), dist.ReduceOp.MAX))

    def gather(self, data: bytes) -> list[bytes]:
        """Return every process's bytes, by rank."""
        if self.size == 1:
            return [data]
        rows = [b""] * self.size
        dist.all_gather_object(rows, data)
        return rows

    def _reduced(self, values: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        if self.size == 1:
            return values.cpu()
        moved = values.to(self.device, copy=True)
        dist.all_reduce(moved, how)
        return moved.cpu()


def random_states(world: World) -> dict[str, Tensor]:
    """Return the state of every process's random numbers, which dropout draws: one row a process."""
    states = {"random.cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(world.device)
    rows = {name: world.gather(bytes(state.numpy())) for name, state in states.items()}
    return {
        name: torch.frombuffer(bytearray(b"".join(row)), dtype=torch.uint8).reshape(world.size, -1)
        for name, row in rows.items()
    }


def set_random_state(world: World, states: Mapping[str, Tensor]) -> None:
    """Put back what `random_states` returned of this process."""
    torch.set_rng_state(states["random.cpu"][world.rank].clone())  # it reads the storage from its start
    if world.device.type == "cuda":
        torch.cuda.set_rng_state(states["random.cuda"][world.rank].clone(), world.device)


def peaks(world: World) -> dict[str, float]:
    """Return the peak resident set, and the peak of what torch held on a GPU, in bytes; the highest of any process.

    Linux counts the resident set in KiB (getrusage(2)).
    """
    found = {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if world.device.type == "cuda":
        found["peak_device_bytes"] = torch.cuda.max_memory_allocated(world.device)
    return {name: float(world.max(value)) for name, value in found.items()}


@contextmanager
def joined() -> Iterator[World]:
    """Yield this process's place among those that torchrun started, or the only one.

    NCCL connects GPUs, gloo CPUs.

    Raises:
        ValueError: there are more processes on this machine than GPUs.
    """
    rank, local = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    size, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    gpus = torch.cuda.device_count()
    if gpus and here > gpus:
        raise ValueError(f"there are more processes than GPUs on this machine ({gpus}): start one a GPU")
    device = torch.device("cuda", local) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    if size == 1:
        yield World(device=device)
        return
    dist.init_process_group("nccl" if gpus else "gloo")
    _KEPT.append(dist.group.WORLD)
    try:
        yield World(rank=rank, size=size, device=device)
    finally:
        dist.destroy_process_group()


class Scorer(nn.Module):
    """Scores a batch of either kind in one forward, which is what DDP and FSDP hook into."""

    def __init__(self, model: RewardModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch | TreeBatch) -> Tensor:
        """Return one reward per response, rewards_R; FSDP2 warns of views, so it is none."""
        if isinstance(batch, TreeBatch):
            return self.model.score_trees(batch).clone()
        rewards_R: Tensor = self.model(batch.ids_BT, batch.lengths_B)
        return rewards_R.clone()


def spread(model: RewardModel, world: World, parallel: Parallel) -> nn.Module:
    """Return the model's scorer on this process's device: copied to every process by DDP, or sharded by FSDP2.

    Either averages gradients over processes. FSDP2 shards layer by layer, and reduces the gradients of every
    micro-batch, so that no process ever holds them all; it takes a layer to the device to shard it, never the whole.
    """
    if world.size == 1:
        return Scorer(model.to(world.device))
    if parallel == "ddp":
        scorer = Scorer(model.to(world.device))
        devices = [world.device] if world.device.type == "cuda" else None
        return DistributedDataParallel(scorer, device_ids=devices, forward_sync_buffers=False)
    for layer in layers(model.backbone):
        fully_shard(layer)
    scorer = Scorer(model)
    fully_shard(scorer)
    return scorer


def accumulating(scorer: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Return the context of a micro-batch's forward and backward: DDP sums gradients in the last one alone."""
    if isinstance(scorer, DistributedDataParallel) and not last:
        context: AbstractContextManager[None] = scorer.no_sync()
        return context
    return nullcontext()


def whole(value: Tensor) -> Tensor:
    """Return all of a tensor on the CPU; every process must ask when it is sharded."""
    full = value.full_tensor() if isinstance(value, DTensor) else value
    return full.detach().cpu().contiguous()


def part(value: Tensor, like: Tensor) -> Tensor:
    """Return what this process holds of a whole tensor, sharded like another."""
    if isinstance(like, DTensor):
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value.to(like.device)
