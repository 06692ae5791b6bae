"""One of two processes of the tests: `torchrun -m tests.ranks WHAT ...`."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from steps.train.launch import reporting

GROUPS_PER_STEP, NUM_GROUPS = 7, 43
"""The last step has one group, so that a process has none."""
BUDGETS = (700, 4096)


def trained(tokens: Path, state: Path, world: Any, **changes: Any) -> Any:
    """Return a trainer that has trained as a part of a world."""
    from threading import Event

    from models.backbone import prepare_backbone
    from models.config import ModelConfig
    from models.reward_model import build_model
    from steps.train import TrainConfig
    from steps.train.groups import Data, StoredGroups
    from steps.train.loop import Trainer
    from steps.train.order import pair_up
    from steps.train.state import Checkpoints

    usual: dict[str, Any] = {"learning_rate": 1e-4, "token_budget": BUDGETS[0], "validate_every": 3}
    usual |= {"num_processes": 2, "groups_per_step": GROUPS_PER_STEP, "checkpoint_seconds": 0.0}
    config = TrainConfig(model=ModelConfig(backbone="tiny"), **{**usual, **changes})
    train = StoredGroups(tokens / "train", config, limit=NUM_GROUPS)
    validation = StoredGroups(tokens / "validation", config, limit=30)
    data = Data(train=train, validation=validation, pairs=pair_up(train), pad_id=0)
    model = build_model(config.model, prepare_backbone("tiny"), seed=0)
    state.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(model, config, data, checkpoints=Checkpoints(state), world=world)
    trainer.fit(lambda _step, _metrics: None, Event())
    return trainer


def held(value: Any) -> tuple[bool, int, int]:
    """Return whether a parameter is sharded, its size, and how much of it is here."""
    from torch.distributed.tensor import DTensor

    sharded = isinstance(value, DTensor)
    return sharded, value.numel(), (value.to_local() if sharded else value).numel()


def train_both_ways(tokens: str, out: str) -> None:
    """Train with DDP, and with FSDP2 and recomputed layers; write what each reached and what of it is here."""
    from steps.train.world import joined

    with joined() as world:
        for parallel in ("ddp", "fsdp"):
            recompute = parallel == "fsdp"
            trainer = trained(Path(tokens), Path(out) / parallel, world, parallel=parallel, recompute=recompute)
            sizes = {name: held(value) for name, value in trainer._parameters.items()}
            found = {
                "rows": [row.to_dict() for row in trainer.history.rows],
                "sizes": sizes,
                "counts": trainer.count(trainer._data.validation),
            }
            (Path(out) / f"{parallel}-{world.rank}.json").write_text(json.dumps(found))


def fail(how: str) -> None:
    """Fail as the second process, while the first waits."""
    if os.environ["RANK"] == "1":
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("the second process\nsays why")
    time.sleep(600)


if __name__ == "__main__":
    with reporting():
        {"train": train_both_ways, "fail": fail}[sys.argv[1]](*sys.argv[2:])
