"""Train the reward model from token stores to a folder of weights."""

import shutil
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from rewardlab.files import atomic_path, read_json, tree_digest, write_json
from rewardlab.layout import PRUNED, READOUT, TRAINING_REPORT
from rewardlab.readout import ReadOut
from rewardlab.reports import TrainingReport
from steps.train.config import TrainConfig, TrainReport
from steps.train.launch import TrainJob
from steps.train.marker import diverged, refuse_retry
from steps.train.state import Checkpoints, held
from steps.train.together import fit_together

_PRUNED = "backbone"
_NUM_READ = 64
"""Groups whose first response decides which layers are left out."""


def train(config: TrainConfig, tokens: Path, target: Path, *, state: Path) -> TrainReport:
    """Fit the model and write weights, tokenizer, read-out and `training.json`.

    Args:
        config: how to train; with several processes, each is started by torchrun, here or on the nodes of a TrainJob.
        tokens: the folder that `tokenize` wrote.
        target: the model's folder.
        state: a folder outside the artifacts, the same for each retry; checkpoints lie there until training succeeds,
            a diverged run leaves its marker. Nodes must share it.

    Raises:
        DivergedError: the loss is not finite, now or in an earlier try of the same.
        StoppedError: SIGTERM came; the same call goes on from the checkpoint.
        ChildProcessError: one of several processes failed; the message is its own.
        ValueError: there is nothing to train or validate on, or another process trains the same.
    """
    refuse_retry(state)
    with held(state):
        if config.prune_layers:
            _prune(config, tokens, state)
        if config.num_processes == 1 and TrainJob.described() is None:
            fit(config, tokens, target, state=state)
        else:
            fit_together(config, tokens, target, state=state)
        shutil.rmtree(state, ignore_errors=True)  # the model is kept: what NFS still holds open is no failure
    return TrainReport.from_dict(read_json(target / TRAINING_REPORT))


def fit(config: TrainConfig, tokens: Path, target: Path, *, state: Path) -> None:
    """Train as one process, or as one of those that torchrun started; the first of them writes the model.

    Raises:
        DivergedError: the loss is not finite.
        StoppedError: SIGTERM came.
        ValueError: there is nothing to train or validate on.
    """
    import torch

    from models.backbone import prepare_backbone
    from models.checkpoint import save_model
    from models.reward_model import build_model
    from steps.train.groups import open_data
    from steps.train.head_only import read_once
    from steps.train.loop import NotFiniteError, Trainer
    from steps.train.optimizer import weights_of
    from steps.train.stop import stoppable
    from steps.train.tracking import Tracker
    from steps.train.world import joined

    started = time.perf_counter()
    readout = ReadOut.from_dict(read_json(tokens / READOUT))
    data = open_data(tokens, config, pad_id=readout.pad_id)
    checkpoints = Checkpoints(state)
    folder = state / _PRUNED if config.prune_layers else prepare_backbone(config.model.backbone)
    with joined() as world, stoppable() as stop:
        torch.manual_seed(config.seed + world.rank)
        model = build_model(config.model, folder, seed=config.seed)
        if config.head_only:
            model, data = read_once(model, data, config, state / "states.bin", device=world.device)
        trainer = Trainer(model, config, data, checkpoints=checkpoints, world=world)
        history = trainer.history
        try:
            with Tracker(config, state / "mlflow_run") if world.rank == 0 else nullcontext() as tracker:
                trainer.fit(tracker.log if tracker else lambda _step, _metrics: None, stop)
        except NotFiniteError as error:
            kept = checkpoints.path(history.best_step) if history.rows else None
            raise diverged(state, step=error.step, groups=error.groups, what=error.what, checkpoint=kept) from error
        if not tracker:
            return
    del model, trainer
    model = build_model(config.model, folder, seed=config.seed)
    model.load_state_dict(weights_of(checkpoints.tensors(history.best_step)), strict=False)
    with atomic_path(target) as scratch:
        save_model(model, config.model, readout, backbone_folder=folder, target=scratch)
        report = TrainingReport(
            digest=tree_digest(scratch),
            num_groups=len(data.train),
            num_steps=history.num_steps,
            best_step=history.best_step,
            best_accuracy=history.best.validation_accuracy,
            history=tuple(history.rows),
            seconds=time.perf_counter() - started,
            mlflow_run=tracker.run_id,
            length_bias=asdict(data.length_bias) if data.length_bias else None,
            pruned=read_json(folder / PRUNED) if config.prune_layers else None,
            config=config.to_dict(),
        )
        write_json(scratch / TRAINING_REPORT, report.to_dict())


def _prune(config: TrainConfig, tokens: Path, state: Path) -> None:
    """Write the pruned backbone where every process and every retry finds it."""
    from models.backbone import prepare_backbone
    from models.pruning import prune
    from steps.train.groups import StoredGroups

    target = state / _PRUNED
    if target.is_dir():
        return
    groups = StoredGroups(tokens / "train", config, limit=_NUM_READ)
    sequences = [group.sequences[0] for group in groups]
    prune(prepare_backbone(config.model.backbone), sequences, num_layers=config.prune_layers, target=target)
