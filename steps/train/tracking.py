"""Training metrics to MLflow."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rewardlab.config import Config
from steps.registry import connect, experiment


class Tracker:
    """One MLflow run with the full configuration and the metrics; a server lost on the way does not stop training.

    Use it as a context: the run ends as FINISHED, or as FAILED on an error.
    """

    def __init__(self, config: Config) -> None:
        from mlflow.entities import Param

        self._client = connect()
        tags = {"rewardlab.step": "train"}
        self.run_id = str(self._client.create_run(experiment(self._client), tags=tags, run_name="train").info.run_id)
        params = [Param(name, str(value)) for name, value in _flat(config.to_dict())]
        self._client.log_batch(self.run_id, params=params)

    def __enter__(self) -> Self:
        """Return the tracker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.set_terminated(self.run_id, status="FAILED" if kind else "FINISHED")
        except (MlflowException, OSError) as lost:
            print(f"the end of training was not logged: {lost}", file=sys.stderr)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of a step."""
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        now = round(time.time() * 1000)
        entries = [Metric(name, value, now, step) for name, value in metrics.items()]
        try:
            self._client.log_batch(self.run_id, metrics=entries)
        except (MlflowException, OSError) as error:
            print(f"metrics of step {step} were not logged: {error}", file=sys.stderr)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for key, value in values.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return pairs
