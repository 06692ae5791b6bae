"""Training as several processes, which a launcher starts: on this machine, or on the nodes of a TrainJob."""

import shutil
from pathlib import Path

from rewardlab.files import atomic_path
from steps.train.config import TrainConfig
from steps.train.launch import TrainJob, launch

_RANK = "steps.train.rank"


def fit_together(config: TrainConfig, tokens: Path, target: Path, *, state: Path) -> None:
    """Train where the environment says and write the model's folder.

    Nodes share the storage of `state` alone: they read a copy of the tokens there, and what they made is brought back.

    Raises:
        ChildProcessError: a process failed; the message is its own.
        InterruptedError: SIGTERM came.
        ValueError: the cluster refuses the job, or the processes cannot be divided over its nodes.
    """
    job = TrainJob.described()
    if job is None:
        launch(_RANK, [config.to_json(), tokens, target, state], num_processes=config.num_processes)
        return
    near, made = state / "tokens", state / "model"
    if not near.exists():
        with atomic_path(near) as scratch:
            shutil.copytree(tokens, scratch)
    job.run(
        _RANK,
        [config.to_json(), near, made, state],
        num_processes=config.num_processes,
        name=f"train-{state.name}",
        reports=state / "reports",
    )
    with atomic_path(target) as scratch:
        shutil.copytree(made, scratch)
