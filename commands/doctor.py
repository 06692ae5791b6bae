"""Check that this machine can run the pipeline, and say what to do where it cannot."""

import shutil
import socket
from collections.abc import Callable
from contextlib import closing
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from pipelines.recipes import Recipe
from rewardlab.home import home
from steps.common.cluster_checks import Finding, tried
from steps.report import PACKAGES

_NEEDED_GIB = 5


def check(recipe: Recipe) -> list[Finding]:
    """Check packages, disk, the server's port, the registry, the data pointer and the recipe's backbone."""
    checks: dict[str, Callable[[], str]] = {
        **{name: partial(_package, name) for name in (*PACKAGES, "uvicorn")},
        "disk": _disk,
        "port 8080": _port,
        "registry": _registry,
        "data": _data,
        f"backbone of {recipe.name}": partial(_backbone, recipe),
    }
    return list(tried(checks))


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError as error:
        raise ValueError("not installed: run `make setup`") from error


def _disk() -> str:
    place = next(parent for parent in (home(), *home().parents) if parent.exists())
    free = shutil.disk_usage(place).free / 2**30
    if free < _NEEDED_GIB:
        raise ValueError(
            f"{free:.1f} GiB free at {place}, a run needs {_NEEDED_GIB}: `rewardlab gc`, or REWARDLAB_HOME"
        )
    return f"{free:.0f} GiB free at {place}"


def _port() -> str:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8080))
        except OSError as error:
            raise ValueError("in use: serve with another --port") from error
    return "free"


def _registry() -> str:
    from rewardlab.home import tracking_uri
    from steps.registry.client import connect

    connect()
    return tracking_uri()


def _data() -> str:
    from pipelines.code_digest import ROOT
    from steps.resolve import data_version

    return f"data.dvc points to md5 {data_version(str(ROOT), '', '').md5}"


def _backbone(recipe: Recipe) -> str:
    from models.backbone import prepare_backbone

    return str(prepare_backbone(recipe.model.backbone))
