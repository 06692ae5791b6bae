"""Train the reward model from token stores to a folder of weights."""

import os
import time
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

from models.config import COMPARED, Loss
from rewardlab.files import atomic_path, read_json, tree_digest, write_json
from rewardlab.groups import Comparison
from rewardlab.readout import ReadOut
from rewardlab.tokenstore import TokenStore
from steps.train.config import TrainConfig, TrainReport
from steps.train.marker import diverged, refuse_retry

if TYPE_CHECKING:
    from models.batches import TokenGroup


def train(config: TrainConfig, tokens: Path, target: Path, *, state: Path) -> TrainReport:
    """Fit the model and write weights, tokenizer, read-out and `training.json`.

    Args:
        config: how to train.
        tokens: the folder that `tokenize` wrote.
        target: the model's folder.
        state: a folder outside the artifacts, the same for each retry; a diverged run leaves its marker there.

    Raises:
        DivergedError: the loss is not finite, now or in an earlier try of the same.
        ValueError: there is nothing to train or validate on.
    """
    refuse_retry(state)
    import torch

    from models.backbone import prepare_backbone
    from models.checkpoint import save_model
    from models.reward_model import build_model
    from steps.train.loop import NotFiniteError, Trainer
    from steps.train.tracking import Tracker

    groups = _load(tokens / "train", config.loss, config.max_groups)
    validation = _load(tokens / "validation", config.loss, 0)
    if not any(entry.strength > 0.5 for group in validation for entry in group.comparisons):
        raise ValueError("the validation split holds nothing but ties, so no checkpoint is the best: give more data")
    readout = ReadOut.from_dict(read_json(tokens / "readout.json"))
    started = time.perf_counter()
    torch.manual_seed(config.seed)
    folder = prepare_backbone(config.model.backbone)
    model = build_model(config.model, folder, seed=config.seed)
    checkpoint = state / f"best-{os.getpid()}.safetensors"
    trainer = Trainer(model, config, pad_id=readout.pad_id, num_groups=len(groups), checkpoint=checkpoint)
    trainer.check_budget([*groups, *validation])
    try:
        with Tracker(config) as tracker:
            history = trainer.fit(groups, validation, tracker.log)
    except NotFiniteError as error:
        kept = checkpoint if checkpoint.is_file() else None
        raise diverged(state, step=error.step, groups=error.groups, loss=error.loss, checkpoint=kept) from error
    with atomic_path(target) as scratch:
        save_model(model.cpu(), config.model, readout, backbone_folder=folder, target=scratch)
        details = {"history": history.rows, "seconds": time.perf_counter() - started, "mlflow_run": tracker.run_id}
        report = TrainReport(
            digest=tree_digest(scratch),
            num_groups=len(groups),
            num_steps=history.num_steps,
            best_step=history.best_step,
            best_accuracy=history.best_accuracy,
        )
        write_json(scratch / "training.json", {**report.to_dict(), **details, "config": config.to_dict()})
    checkpoint.unlink()
    return report


def _load(folder: Path, loss: Loss, limit: int) -> "Sequence[TokenGroup]":
    """Return the groups of a store that carry what the loss learns from; a limit of 0 takes all.

    A loss of scores ignores comparisons, but validation counts them: scores stand in where there are none.
    """
    from models.batches import TokenGroup

    store = TokenStore(folder)
    stored = (store[index] for index in range(len(store)))
    kept = (each for each in stored if (each.comparisons if loss in COMPARED else each.scores))
    groups = [
        TokenGroup(
            id=each.id,
            prompt=each.prompt,
            responses=each.responses,
            comparisons=each.comparisons or _ordered(each.scores or ()),
            scores=each.scores,
        )
        for each in kept
    ]
    if not groups:
        wanted = "comparisons" if loss in COMPARED else "scores"
        raise ValueError(f"the {folder.name} split holds no group with {wanted}, which {loss} needs: give more data")
    return groups[:limit] if limit else groups


def _ordered(scores: Sequence[float]) -> tuple[Comparison, ...]:
    """Return a comparison for every pair of different scores."""
    pairs = permutations(range(len(scores)), 2)
    return tuple(Comparison(better=one, worse=other) for one, other in pairs if scores[one] > scores[other])
