"""Where rewardlab keeps what it makes on a machine, and where its registry is."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

DEFAULT_NAME = "reward-model"
"""The registered model of the embedded data set."""
MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Quiet, and a server that is down is waited for in seconds; by default it is minutes."""
SHORTEST_SECRET = 16


def home() -> Path:
    """Return the folder for state: `REWARDLAB_HOME`, else `.rewardlab` in the current folder."""
    return Path(os.environ.get("REWARDLAB_HOME") or ".rewardlab").absolute()


def backbones() -> Path:
    """Return the folder for converted backbones: `REWARDLAB_CACHE`, else `~/.cache/rewardlab`."""
    return Path(os.environ.get("REWARDLAB_CACHE") or Path.home() / ".cache" / "rewardlab").absolute()


def training_state(settings: str, digest: str) -> Path:
    """Return where a training keeps its checkpoints: a folder for each configuration, code and digest of data."""
    return home() / "training" / hashlib.sha256((settings + digest).encode()).hexdigest()[:16]


def tracking_uri() -> str:
    """Return MLflow's address: `MLFLOW_TRACKING_URI`, else a SQLite file in `home()`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def webhook_secret(environment: Mapping[str, str]) -> str:
    """Return what MLflow signs its webhook to the deployer with: `REWARDLAB_WEBHOOK_SECRET`.

    Raises:
        ValueError: it is not set, or short enough to be guessed.
    """
    secret = environment.get("REWARDLAB_WEBHOOK_SECRET", "")
    if len(secret) < SHORTEST_SECRET:
        raise ValueError(f"REWARDLAB_WEBHOOK_SECRET holds a secret of at least {SHORTEST_SECRET} characters")
    return secret
