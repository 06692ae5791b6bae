"""What several heads on one backbone cost: a training step and a scored batch of an ensemble of 5, beside one head."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Row, main
from models.backbone import prepare_backbone
from models.batches import TokenGroup
from models.config import ModelConfig
from models.losses import group_loss
from models.reward_model import build_model
from models.trees import pack
from pipelines.recipes import smollm2
from rewardlab.combination import Ensemble
from rewardlab.engine.session import Session
from rewardlab.groups import Comparison
from rewardlab.tokens import TokenTree
from steps.export.graph import write_onnx

ROW, TARGET, NUM_HEADS = 6, 1.1, 5
NUM_GROUPS, PROMPT, RESPONSES = 8, 60, (12, 20, 24, 28)
"""About what a step of the default recipe reads: 8 groups of 4, 1,100 tokens."""

Work = Callable[[], object]


def measure(quick: bool) -> Sequence[Row]:
    """Time one head and five on the default recipe's backbone, in turns."""
    config = smollm2().model
    many = replace(config, ensemble=Ensemble(num_heads=NUM_HEADS, rule="uncertainty"))
    groups = _groups()
    repeats = 5 if quick else 21
    training = _in_turns(_step(config, groups), _step(many, groups), repeats)
    with tempfile.TemporaryDirectory() as folder:
        one, other = (_scoring(each, groups, Path(folder) / f"{at}.onnx") for at, each in enumerate((config, many)))
        scoring = _in_turns(one, other, repeats)
    named = (("training step", training), ("scoring 8 groups with ONNX Runtime", scoring))
    return [_row(f"{name}, {NUM_HEADS} heads beside 1", times) for name, times in named]


def _groups() -> list[TokenGroup]:
    rng = np.random.default_rng(0)

    def tokens(length: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        return rng.integers(3, 40_000, length).astype(np.int32)

    won = tuple(Comparison(better=0, worse=other) for other in (1, 2, 3))
    return [
        TokenGroup(id=str(at), prompt=tokens(PROMPT), responses=tuple(map(tokens, RESPONSES)), comparisons=won)
        for at in range(NUM_GROUPS)
    ]


def _step(config: ModelConfig, groups: Sequence[TokenGroup]) -> Work:
    """Return one training step without the optimizer, whose work on a head's 576 numbers is nothing."""
    model = build_model(config, prepare_backbone(config.backbone)).train()
    model.share_prompts()
    (batch,) = pack(groups, budget=4096)

    def work() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rewards = model.score_trees(batch)
        group_loss(rewards.float(), batch.targets).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)

    return work


def _scoring(config: ModelConfig, groups: Sequence[TokenGroup], target: Path) -> Work:
    """Return one call of the engine's session, which keeps no prompts, on a graph of the configuration."""
    write_onnx(build_model(config, prepare_backbone(config.backbone)), target)
    session = Session(target, pad_id=0, cache_bytes=0)
    trees = [
        TokenTree(tuple(group.prompt.tolist()), tuple(tuple(each.tolist()) for each in group.responses), (False,) * 4)
        for group in groups
    ]
    return lambda: session.run(trees)


def _in_turns(one: Work, many: Work, repeats: int) -> list[tuple[float, float]]:
    """Return the seconds of both, warmed up and measured in turns, so that a busy machine slows both."""
    one()
    many()
    return [(_seconds(one), _seconds(many)) for _ in range(repeats)]


def _seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _row(name: str, times: Sequence[tuple[float, float]]) -> Row:
    """Return the median of the turns' ratios."""
    ratio = statistics.median(many / one for one, many in times)
    return Row(
        row=ROW,
        name=name,
        value=statistics.median(many for _, many in times),
        unit="s",
        ratio=ratio,
        target=TARGET,
        status="met" if ratio <= TARGET else "missed",
        why=f"{ratio:.3f} times the cost of one head, median of {len(times)} turns",
    )


if __name__ == "__main__":
    main(__doc__ or "", measure)
