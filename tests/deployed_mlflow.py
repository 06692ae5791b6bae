"""MLflow as its Deployment starts it: command and variables of the container, with values for what it refers to."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.manifests.manifests import Object, of_kind

Secrets = Mapping[str, Mapping[str, str]]


def container_of(objects: list[Object]) -> Any:
    """Return the container of the Deployment `mlflow`."""
    (found,) = (each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "mlflow")
    return found["spec"]["template"]["spec"]["containers"][0]


def started(
    container: Any, settings: Mapping[str, str], secrets: Secrets, *, folder: Path, port: int
) -> tuple[list[str], dict[str, str]]:
    """Return a command and its variables.

    Args:
        container: of the Deployment.
        settings: the config map that it refers to.
        secrets: those it refers to, by name and key.
        folder: takes what the Deployment mounts.
        port: in place of the Deployment's own.
    """
    env = {}
    for entry in container["env"]:
        of = entry.get("valueFrom", {})
        if key := of.get("secretKeyRef"):
            env[entry["name"]] = secrets[key["name"]][key["key"]]
        else:
            env[entry["name"]] = entry["value"] if "value" in entry else settings[of["configMapKeyRef"]["key"]]
    assert env["MLFLOW_AUTH_CONFIG_PATH"] == "/etc/mlflow/auth.ini"
    (folder / "auth.ini").write_text(secrets["rewardlab-mlflow-server"]["auth.ini"])
    env["MLFLOW_AUTH_CONFIG_PATH"] = str(folder / "auth.ini")
    arguments = [
        each.replace("$(ARTIFACTS)", env["ARTIFACTS"]).replace("5000", str(port)) for each in container["args"]
    ]
    arguments = ["--host=127.0.0.1" if each.startswith("--host") else each for each in arguments]
    return [sys.executable, *container["command"][1:], *arguments], env
