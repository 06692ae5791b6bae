"""Training metrics to MLflow."""

import sys
import time
from collections.abc import Mapping
from typing import Any

from rewardlab.config import Config
from steps.registry import connect, experiment


class Tracker:
    """One MLflow run with the full configuration and the metrics; a server lost on the way does not stop training."""

    def __init__(self, config: Config) -> None:
        self._client = connect()
        tags = {"rewardlab.step": "train"}
        self.run_id = str(self._client.create_run(experiment(self._client), tags=tags, run_name="train").info.run_id)
        for name, value in _flat(config.to_dict()):
            self._client.log_param(self.run_id, name, value)

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

    def end(self, status: str) -> None:
        """Close the run as FINISHED or FAILED."""
        self._client.set_terminated(self.run_id, status=status)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for key, value in values.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return pairs
