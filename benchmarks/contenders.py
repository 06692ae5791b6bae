"""The contenders of `benchmarks.train`: each a process that takes a step when it is told to, from the same weights."""

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from models.batches import Batch, TokenGroup
    from models.reward_model import RewardModel
    from models.trees import TreeBatch
    from steps.train.config import TrainConfig

Kind = Literal["trl", "padded", "packed", "shared"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a contender gets: a checkpoint's folder and, step by step, groups. Nobody decays weights.

    `freeze_layers` counts from the bottom, as `ModelConfig` has it. Decay comes with a tenth of the steps for warm-up.
    """

    folder: Path
    steps: Sequence[Sequence["TokenGroup"]]
    learning_rate: float = 1e-5
    decay: Literal["constant", "cosine"] = "constant"
    freeze_layers: int = 0
    token_budget: int = 8192
    training: bool = True
    bf16: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What a step took, in `seconds` by the wall and `cpu` seconds of all threads.

    `computed` counts padding and repeated prompts too, `peak` is the process's memory in MB.
    """

    seconds: float
    cpu: float
    cutting: float = 0.0
    loss: float
    computed: int
    peak: float


class Contender:
    """A process that works only while it is asked to, so that contenders can take turns on the machine."""

    def __init__(self, kind: Kind, work: Work) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_contend, args=(kind, work, theirs), daemon=True)
        began = time.perf_counter()
        self._process.start()
        theirs.close()
        self._pipe.recv()
        self.start_seconds = time.perf_counter() - began

    def step(self) -> Step:
        """Take the next step.

        Raises:
            EOFError: the process has died; why is on stderr.
        """
        self._pipe.send(None)
        taken: Step = self._pipe.recv()
        return taken

    def rewards(self, groups: Sequence["TokenGroup"]) -> list[float]:
        """Return the rewards of groups, response by response, by the model as it has been trained so far."""
        self._pipe.send(groups)
        found: list[float] = self._pipe.recv()
        return found

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


@contextmanager
def contest(entries: Mapping[str, tuple[Kind, Work]]) -> Iterator[dict[str, Contender]]:
    """Start contenders one after the other, and end them all."""
    contenders: dict[str, Contender] = {}
    try:
        for name, (kind, work) in entries.items():
            contenders[name] = Contender(kind, work)
        yield contenders
    finally:
        for each in contenders.values():
            each.stop()


def _contend(kind: Kind, work: Work, pipe: Connection) -> None:
    import torch

    torch.manual_seed(0)
    if kind == "trl":
        from benchmarks.trl_contender import take_turns

        take_turns(work, pipe)
    else:
        _ours(kind, work, pipe)


def _ours(kind: Kind, work: Work, pipe: Connection) -> None:
    import torch

    from models.checkpoint import load_model
    from models.reward_model import freeze_lower

    low = not work.training and work.bf16  # what learns has fp32 weights and autocast, what only scores is cast once
    model, *_ = load_model(work.folder, dtype=torch.bfloat16 if low else torch.float32)
    if kind != "padded":
        assert model.share_prompts()
    freeze_lower(model.backbone, work.freeze_layers)
    model.to(device()).train(work.training)
    take = learner(model, work) if work.training else _scorer(model)
    pipe.send(None)
    for groups in work.steps:
        serve(model, pipe)
        began, cpu = time.perf_counter(), time.process_time()
        batches = cut(kind, groups, work.token_budget)
        cutting = time.perf_counter() - began
        loss = take(batches, groups)
        seconds = time.perf_counter() - began
        computed = sum(getattr(batch, "ids_T" if kind != "padded" else "ids_BT").numel() for batch in batches)
        spent = time.process_time() - cpu
        pipe.send(Step(seconds=seconds, cpu=spent, cutting=cutting, loss=loss, computed=computed, peak=peak()))
    serve(model, pipe)


def cut(kind: Kind, groups: Sequence["TokenGroup"], budget: int) -> list["Batch"] | list["TreeBatch"]:
    """Return one batch that is padded, or rows of trees; packed without sharing, each response is a tree of its own."""
    from models.batches import collate
    from models.trees import lay_out, pack

    if kind == "padded":
        return [collate(groups, pad_id=0)]
    rows = pack(groups, budget=budget)
    if kind == "shared":
        return rows
    whole = {group.id: group for group in groups}
    packed = []
    for row in rows:
        apart = [replace(whole[name], responses=(each,)) for name in row.group_ids for each in whole[name].responses]
        packed.append(replace(lay_out([replace(each, comparisons=()) for each in apart]), targets=row.targets))
    return packed


def settings(work: Work) -> "TrainConfig":
    """Return the configuration of which every contender has the optimizer and the schedule."""
    from models.config import ModelConfig
    from steps.train.config import TrainConfig

    return TrainConfig(
        model=ModelConfig(backbone=""),
        learning_rate=work.learning_rate,
        head_learning_rate=work.learning_rate,
        weight_decay=0.0,
        warmup_share=0.0 if work.decay == "constant" else 0.1,
        decay=work.decay,
    )


def learner(model: "RewardModel", work: Work) -> Callable[[Any, Any], float]:
    """Return what takes an optimizer step, as `steps/train` does, and returns the loss."""
    import torch

    from models.losses import group_loss
    from steps.train.optimizer import make_optimizer, moving

    optimizer, scheduler = make_optimizer(moving(model), settings(work), len(work.steps))

    def take(batches: Sequence[Any], groups: Sequence["TokenGroup"]) -> float:
        total = 0.0
        for batch in batches:
            loss = group_loss(_read(model, batch, work.bf16), batch.targets.to(device()), reduction="sum")
            (loss / len(groups)).backward()  # type: ignore[no-untyped-call]
            total += loss.item() / len(groups)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        return total

    return take


def _scorer(model: "RewardModel") -> Callable[[Any, Any], float]:
    import torch

    def take(batches: Sequence[Any], _groups: Sequence["TokenGroup"]) -> float:
        with torch.inference_mode():
            return float(torch.cat([_read(model, batch, False) for batch in batches]).mean())

    return take


def _read(model: "RewardModel", batch: "Batch | TreeBatch", bf16: bool) -> Any:
    import torch

    from models.trees import TreeBatch

    moved = batch.to(device())
    with torch.autocast(device(), dtype=torch.bfloat16, enabled=bf16):
        if isinstance(moved, TreeBatch):
            return model.score_trees(moved)
        return model(moved.ids_BT, moved.lengths_B)


def serve(model: "RewardModel", pipe: Connection) -> None:
    """Answer with the rewards of groups, read as trees whoever trained the model, until a step is asked for."""
    import torch

    from models.trees import pack

    while (groups := pipe.recv()) is not None:
        training = model.training
        assert model.eval().share_prompts()
        found: dict[str, list[float]] = {}
        with torch.inference_mode():
            for row in pack(groups, budget=2048):
                rewards = iter(_read(model, row, True).tolist())
                for name, tree in zip(row.group_ids, row.trees, strict=True):
                    found[name] = [next(rewards) for _ in tree.responses]
        model.train(training)
        pipe.send([reward for group in groups for reward in found[group.id]])


def device() -> str:
    """Return where contenders work."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def peak() -> float:
    """Return the most MB of memory that this process has held: the GPU's, or its own."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
