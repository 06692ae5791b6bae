"""Training metrics to MLflow."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rewardlab.config import Config
from rewardlab.files import write_text
from steps.registry.client import connect, experiment


class Tracker:
    """One MLflow run with the full configuration and the metrics; a server lost on the way does not stop training.

    Use it as a context: the run ends as FINISHED, as KILLED where the training was told to stop, or as FAILED on
    another error. A process that is killed outright can end nothing, so that the next try of its training does.

    Args:
        config: the training's.
        note: a file of this training alone, the same for each try; it names the run that is under way.
    """

    def __init__(self, config: Config, note: Path) -> None:
        from mlflow.entities import Param

        self._client, self._note = connect(), note
        if note.exists():
            self._end(note.read_text(encoding="utf-8"), "KILLED")
        tags = {"rewardlab.step": "train"}
        self.run_id = str(self._client.create_run(experiment(self._client), tags=tags, run_name="train").info.run_id)
        write_text(note, self.run_id)
        settings = [Param(name, str(value)) for name, value in _flat(config.to_dict())]
        self._try("settings were", self._client.log_batch, self.run_id, params=settings)

    def __enter__(self) -> Self:
        """Return the tracker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run."""
        stopped = kind is not None and issubclass(kind, (InterruptedError, KeyboardInterrupt))
        self._end(self.run_id, "KILLED" if stopped else "FAILED" if kind else "FINISHED")
        self._note.unlink()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of a step."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        rows = [Metric(name, value, now, step) for name, value in metrics.items()]
        self._try(f"metrics of step {step} were", self._client.log_batch, self.run_id, metrics=rows)

    def _end(self, run_id: str, status: str) -> None:
        self._try("the end of training was", self._client.set_terminated, run_id, status=status)

    def _try(self, what: str, call: Callable[..., object], run_id: str, **options: Any) -> None:
        """Call MLflow; where that fails, say on standard error what was not logged."""
        from mlflow.exceptions import MlflowException

        try:
            call(run_id, **options)
        except (MlflowException, OSError) as error:
            print(f"{what} not logged: {error}", file=sys.stderr)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for key, value in values.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return pairs
