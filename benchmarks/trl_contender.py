"""TRL's RewardTrainer as a contender, from a folder of its own beside the locked packages."""

import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import Step, Work, device, peak, serve, settings

if TYPE_CHECKING:
    from models.reward_model import RewardModel

TRL = ("trl==1.16.0", "accelerate==1.15.0")
_HOME = Path("build/trl-1.16.0")


def install_trl() -> None:
    """Install TRL beside the locked packages, once, in a folder that only its process looks into."""
    if not (_HOME / "trl").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(_HOME), *TRL]
        subprocess.run(command, check=True)


def take_turns(work: Work, pipe: Connection) -> None:
    """Let TRL's trainer have the same sequences in the same order, and take its steps when it is told to."""
    sys.path.insert(0, str(_HOME))
    from datasets import Dataset  # type: ignore[import-untyped]
    from torch.optim.lr_scheduler import LambdaLR
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RewardTrainer

    from models.reward_model import freeze_lower
    from steps.train.optimizer import pace

    groups = [group for step in work.steps for group in step]
    pairs = [
        [group.sequences[at] for at in (group.comparisons[0].better, group.comparisons[0].worse)] for group in groups
    ]
    size, began = len(work.steps[0]), [0.0, 0.0]

    class Turns(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
            serve(_wrapped(given["model"]), pipe)
            began[:] = time.perf_counter(), time.process_time()

        def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
            if "loss" in given["logs"]:
                seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
                batch = pairs[(state.global_step - 1) * size : state.global_step * size]
                computed = 2 * len(batch) * max(len(each) for pair in batch for each in pair)
                pipe.send(Step(seconds=seconds, cpu=cpu, loss=given["logs"]["loss"], computed=computed, peak=peak()))

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
            serve(_wrapped(given["model"]), pipe)

    class InOrder(RewardTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return SequentialSampler(train_dataset)

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, pace(settings(work), num_training_steps))
            return self.lr_scheduler

    classifier = AutoModelForSequenceClassification.from_pretrained(work.folder, num_labels=1)
    freeze_lower(classifier.base_model, work.freeze_layers)
    with tempfile.TemporaryDirectory() as folder:
        trainer = InOrder(
            model=classifier,
            processing_class=AutoTokenizer.from_pretrained(work.folder),  # type: ignore[no-untyped-call]
            args=_arguments(work, folder),
            train_dataset=Dataset.from_list([{"chosen_ids": c.tolist(), "rejected_ids": r.tolist()} for c, r in pairs]),
            callbacks=[Turns()],
        )
        pipe.send(None)
        trainer.train()


def _arguments(work: Work, folder: str) -> Any:
    """Return TRL's defaults with the contest's batch, rate and precision."""
    from trl import RewardConfig

    return RewardConfig(
        output_dir=folder,
        per_device_train_batch_size=len(work.steps[0]),
        max_steps=len(work.steps),
        learning_rate=work.learning_rate,
        gradient_checkpointing=False,
        bf16=work.bf16,
        use_cpu=device() == "cpu",
        max_length=None,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _wrapped(classifier: Any) -> "RewardModel":
    """Return transformers' sequence classifier as a reward model."""
    from models.head import RewardHead
    from models.reward_model import RewardModel

    head = RewardHead(classifier.score.in_features, pooling="last_token")
    head.score = classifier.score
    return RewardModel(classifier.base_model, head, kind="causal").train(classifier.training)
