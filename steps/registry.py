"""The MLflow registry: versions of bundles, their tags, and the aliases that say which is in charge."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from rewardlab.config import Config
from rewardlab.home import home, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS = "champion", "previous"
EXPERIMENT = "rewardlab"
_RUN_TAG = "rewardlab.run_id"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChampionRecord(Config):
    """Who is in charge: `NAME/VERSION`, the digest of its bundle, and of the test set it was gated on."""

    label: str
    bundle: str
    test_digest: str

    @property
    def version(self) -> str:
        """Return the version number."""
        return self.label.rpartition("/")[2]


class StaleError(ValueError):
    """The champion is another one than the candidate was gated against."""


def connect() -> "MlflowClient":
    """Return a client of the registry, creating a local one where there is none.

    Raises:
        ValueError: the server cannot be reached; the message names it and says what to do.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = tracking_uri()
    try:
        if urlparse(uri).scheme != "sqlite":
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
            return client
        home().mkdir(parents=True, exist_ok=True)
        with FileLock(home() / "mlflow.lock"):  # two first runs must not create the tables twice
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
        return client
    except (MlflowException, OSError) as error:
        raise ValueError(
            f"the registry {uri} cannot be reached: start it, or set MLFLOW_TRACKING_URI, or unset it for a local one "
            f"({str(error).splitlines()[0]:.200})"
        ) from error


def experiment(client: "MlflowClient") -> str:
    """Return the experiment's id; a local registry keeps its artifacts in `home()`."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found:
        return str(found.experiment_id)
    local = urlparse(tracking_uri()).scheme == "sqlite"
    try:
        return client.create_experiment(EXPERIMENT, artifact_location=str(home() / "artifacts") if local else None)
    except MlflowException:  # another run was faster
        found = client.get_experiment_by_name(EXPERIMENT)
        if not found:
            raise
        return str(found.experiment_id)


def pipeline_run(client: "MlflowClient", run_id: str) -> str:
    """Return the id of the MLflow run that stands for a pipeline run, creating it the first time."""
    where = [experiment(client)]
    found = client.search_runs(where, filter_string=f"tags.`{_RUN_TAG}` = '{run_id}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    return str(client.create_run(where[0], run_name=run_id, tags={_RUN_TAG: run_id}).info.run_id)


def champion_record(client: "MlflowClient", name: str) -> ChampionRecord | None:
    """Return who is champion of a registered model; None when there is none.

    Raises:
        ValueError: the champion's version lacks the tags that say what it is.
    """
    version = by_alias(client, name, CHAMPION)
    if version is None:
        return None
    tags = version.tags
    if not tags.get("bundle") or not tags.get("test_digest"):
        raise ValueError(
            f"{name}/{version.version} is champion but was not registered by rewardlab: move the alias away"
        )
    return ChampionRecord(label=f"{name}/{version.version}", bundle=tags["bundle"], test_digest=tags["test_digest"])


def by_alias(client: "MlflowClient", name: str, alias: str) -> "ModelVersion | None":
    """Return the version that an alias names; None when there is no such model or alias."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def by_bundle(client: "MlflowClient", name: str, digest: str) -> str | None:
    """Return the newest version that holds a bundle, by its digest."""
    found = [each for each in client.search_model_versions(f"name = '{name}'") if each.tags.get("bundle") == digest]
    return str(max(int(each.version) for each in found)) if found else None


def add_version(client: "MlflowClient", name: str, bundle: Path, *, run: str, tags: Mapping[str, str]) -> str:
    """Store a bundle with an MLflow run and register it; return the version number."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    place = f"bundles/{tags['bundle'][:16]}"  # one run may register several bundles
    client.log_artifacts(run, str(bundle), place)
    source = f"{client.get_run(run).info.artifact_uri}/{place}"
    return str(client.create_model_version(name, source, run_id=run, tags=dict(tags)).version)


def set_tags(client: "MlflowClient", name: str, version: str, tags: Mapping[str, str]) -> None:
    """Set tags of a version."""
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)


def move_champion(client: "MlflowClient", name: str, version: str, *, expected: str | None) -> bool:
    """Make a version champion if the champion is still the expected one; the old one becomes `previous`.

    Returns whether it moved: a version that is champion already stays. Local runs take turns; a server of MLflow has
    no compare-and-swap, so there the alias is read again afterwards.

    Raises:
        StaleError: the champion has changed since, so the candidate must be gated again.
    """
    with _turn():
        current = by_alias(client, name, CHAMPION)
        found = str(current.version) if current else None
        if found == version:
            return False
        if found != expected:
            raise StaleError(f"stale: the champion of {name} is version {found}, the gate compared with {expected}")
        if found:
            client.set_registered_model_alias(name, PREVIOUS, found)
        client.set_registered_model_alias(name, CHAMPION, version)
    after = by_alias(client, name, CHAMPION)
    if after is None or str(after.version) != version:
        raise StaleError(f"stale: another run made version {after.version if after else None} champion of {name}")
    return True


def _turn() -> AbstractContextManager[Any]:
    """Return a lock that runs on a local registry share."""
    from filelock import FileLock

    return FileLock(home() / "champion.lock") if urlparse(tracking_uri()).scheme == "sqlite" else nullcontext()


def describe(version: Any) -> dict[str, Any]:
    """Return what is shown of a version."""
    return {
        "version": str(version.version),
        "aliases": sorted(version.aliases),
        "tags": dict(version.tags),
        "created": int(version.creation_timestamp),
    }
