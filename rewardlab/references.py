"""Find the bundle that a reference names: a folder, a version, an alias or a `models:/` address."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.files import read_json
from rewardlab.home import DEFAULT_NAME, MLFLOW_SETTINGS, home, tracking_uri
from rewardlab.layout import MANIFEST
from rewardlab.promotion import ClientReader, alias_version
from rewardlab.promotion.log import LOG_SUFFIX

if TYPE_CHECKING:
    import mlflow

_MISSING = "RESOURCE_DOES_NOT_EXIST"
ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


def resolve(ref: str, *, name: str = DEFAULT_NAME) -> tuple[Path, str | None]:
    """Return the bundle's folder and its label `NAME/VERSION` (None for a bare folder).

    Args:
        ref: a bundle folder, a version number, an alias, `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
        name: the registered model that a bare version or alias belongs to.

    Raises:
        ValueError: nothing of that name exists, or the registry cannot be reached.
    """
    folder = Path(ref)
    if ref and folder.is_dir():
        if not (folder / MANIFEST).is_file():
            raise ValueError(f"{ref} is a folder, but not a bundle: it holds no {MANIFEST}")
        return folder, None
    if "/" in ref and not ref.startswith("models:/"):
        raise ValueError(f"there is no folder {ref}")
    address = (
        ref if ref.startswith("models:/") else f"models:/{name}/{ref}" if ref.isdigit() else f"models:/{name}@{ref}"
    )
    match = ADDRESS.fullmatch(address)
    if not match:
        raise ValueError(
            f"{ref!r} is no reference: give a folder, a version, an alias, models:/NAME/VERSION or models:/NAME@ALIAS"
        )
    return _registered(**match.groupdict())


def _registered(name: str, version: str | None, alias: str | None) -> tuple[Path, str]:
    """Ask MLflow, the only place in this package that imports it."""
    wanted = f"version {version}" if version else f"alias {alias!r}"
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (home() / "mlflow.db").is_file():
        raise ValueError(
            f"{name} has no {wanted}, because there is no registry in {home()}: make one with `rewardlab run`, "
            "or set REWARDLAB_HOME or MLFLOW_TRACKING_URI"
        )
    for key, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(key, value)
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient(tracking_uri=tracking_uri())
    try:
        number = version or alias_version(ClientReader(client), name, alias or "")
        if number is None:
            raise ValueError(f"{name} has no {wanted} in the registry {tracking_uri()}: {_remedy(client, name)}")
        stored = client.get_model_version(name, number)
        source = mlflow.artifacts.download_artifacts(artifact_uri=str(stored.source), tracking_uri=tracking_uri())
    except MlflowException as error:
        why = _remedy(client, name) if error.error_code == _MISSING else f"{error.message:.300}"
        raise ValueError(f"{name} has no {wanted} in the registry {tracking_uri()}: {why}") from error
    registered, manifest = stored.tags.get("bundle"), Path(source) / MANIFEST
    if registered and (not manifest.is_file() or read_json(manifest).get("digest") != registered):
        raise ValueError(
            f"{name}/{stored.version} is not the bundle that was registered ({registered[:12]}): do not use it"
        )
    return Path(source), f"{name}/{stored.version}"


def _remedy(client: "mlflow.MlflowClient", name: str) -> str:
    """Return what makes a champion of a name, and which registered models there are."""
    names = {model.name for model in client.search_registered_models()}
    others = sorted(other for other in names - {name} if other + LOG_SUFFIX in names)
    option = "" if name == DEFAULT_NAME else f" --name {name}"
    known = f"; there are {', '.join(others)}, to be named with --name" if others else ""
    return f"`rewardlab run{option}` makes a champion{known}"
