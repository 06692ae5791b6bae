"""The MLflow registry: versions of bundles, their tags, and the aliases that say which is in charge."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from rewardlab.config import Config, Report
from rewardlab.files import read_json
from rewardlab.home import MLFLOW_SETTINGS, home, tracking_uri
from rewardlab.promotion import ClientReader, Entry, alias_version, client_log, log_name
from rewardlab.promotion.log import CHAMPION
from rewardlab.promotion.reading import ENTRY

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "rewardlab"
_RUN_TAG = "rewardlab.run_id"
_DESCRIPTION_LIMIT = 5000
_KUBEFLOW_POD = "KFP_POD_NAME"
"""A variable that Kubeflow Pipelines sets in each pod of a step."""
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_UPLOAD_SECONDS = "1800"
"""How long MLflow's server may take, behind the last byte of a bundle, to bring it to its store."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChampionRecord(Config):
    """Who is in charge: `NAME/VERSION`, the digest of its bundle, and of the test set it was gated on.

    `entry` is the digest of the promotion log's entry that made it so.
    """

    label: str
    bundle: str
    test_digest: str
    entry: str = ""

    @property
    def version(self) -> str:
        """Return the version number."""
        return self.label.rpartition("/")[2]


def connect() -> "MlflowClient":
    """Return a client of the registry, creating a local one where there is none.

    Raises:
        ValueError: the server cannot be reached, or a pod of a pipeline has none; the message says what to do.
    """
    for key, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(key, value)
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = tracking_uri()
    local = urlparse(uri).scheme == "sqlite"
    if local and os.environ.get(_KUBEFLOW_POD):
        raise ValueError(
            "on a cluster the registry is a server, and MLFLOW_TRACKING_URI names none: does the namespace have the "
            "config map rewardlab with mlflow-tracking-uri?"
        )
    try:
        if local:
            home().mkdir(parents=True, exist_ok=True)
        with FileLock(home() / "mlflow.lock") if local else nullcontext():  # two first runs would make the tables twice
            client = MlflowClient(tracking_uri=uri)
        client.search_experiments()
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
    if not found:
        local = urlparse(tracking_uri()).scheme == "sqlite"
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=str(home() / "artifacts") if local else None)
        except MlflowException:  # another run was faster
            found = client.get_experiment_by_name(EXPERIMENT)
            if not found:
                raise
    return str(found.experiment_id)


def find_run(client: "MlflowClient", run_id: str) -> str:
    """Return the id of the MLflow run that stands for a pipeline run, or nothing where there is none."""
    found = client.search_runs([experiment(client)], filter_string=f"tags.`{_RUN_TAG}` = '{run_id}'")
    return str(found[0].info.run_id) if found else ""


def pipeline_run(client: "MlflowClient", run_id: str) -> str:
    """Return the id of the MLflow run that stands for a pipeline run; the first time one is made."""
    found = find_run(client, run_id)
    if found:
        return found
    return str(client.create_run(experiment(client), run_name=run_id, tags={_RUN_TAG: run_id}).info.run_id)


def champion_record(client: "MlflowClient", name: str) -> ChampionRecord | None:
    """Return who is champion of a registered model by its promotion log; None when there is none.

    Raises:
        ValueError: the alias names a champion that the log does not know, or the log was changed from outside.
    """
    from mlflow.exceptions import MlflowException

    head = client_log(client, name).head(CHAMPION)
    if head is None:
        try:
            alias_version(ClientReader(client), name, CHAMPION)  # refuses a champion that no promotion made
        except MlflowException as error:  # before the first run there is no such model
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        return None
    return ChampionRecord(
        label=f"{name}/{head.version}", bundle=head.bundle, test_digest=head.test_digest, entry=head.digest
    )


def by_contents(client: "MlflowClient", name: str, contents: str) -> str | None:
    """Return the newest version that holds a bundle, to the last file of it."""
    found = client.search_model_versions(f"name = '{name}'")
    numbers = [int(each.version) for each in found if each.tags.get("contents") == contents]
    return str(max(numbers)) if numbers else None


def looks(client: "MlflowClient", test_digest: str) -> int:
    """Return how many different bundles were gated on a test set: the best of many seems better than it is."""
    found = client.search_model_versions(f"tags.`test_digest` = '{test_digest}'")
    return len({each.tags.get("bundle") for each in found})


def make_model(client: "MlflowClient", name: str) -> None:
    """Make a registered model unless there is one."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def stored_json(client: "MlflowClient", run: str, path: str) -> Mapping[str, Any] | None:
    """Return a JSON document that is kept with an MLflow run, such as the gate's report; None where there is none."""
    if not any(entry.path == path for entry in client.list_artifacts(run, path.rpartition("/")[0])):
        return None
    with TemporaryDirectory() as folder:
        document: Mapping[str, Any] = read_json(Path(client.download_artifacts(run, path, folder)))
    return document


def add_version(client: "MlflowClient", name: str, bundle: Path, *, run: str, tags: Mapping[str, str]) -> str:
    """Store a bundle with an MLflow run and register it; return the version number."""
    make_model(client, name)
    place = f"bundles/{tags['bundle'][:16]}"  # one run may register several bundles
    with _patience(_UPLOAD_SECONDS):
        client.log_artifacts(run, str(bundle), place)
    source = f"{client.get_run(run).info.artifact_uri}/{place}"
    return str(client.create_model_version(name, source, run_id=run, tags=dict(tags)).version)


@contextmanager
def _patience(seconds: str) -> Iterator[None]:
    """Let MLflow's client wait longer for an answer than `connect` has it wait."""
    before, os.environ[_TIMEOUT] = os.environ[_TIMEOUT], seconds
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = before


def set_tags(client: "MlflowClient", name: str, version: str, tags: Mapping[str, str]) -> None:
    """Set tags of a version."""
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)


def describe_version(client: "MlflowClient", label: str, text: str) -> None:
    """Make a Markdown text the description of `NAME/VERSION`; what is over MLflow's limit is cut at a line."""
    name, version = label.split("/")
    rest = "\n\nThe rest is in model_card.md of the run.\n"
    if len(text) > _DESCRIPTION_LIMIT:
        text = text[: _DESCRIPTION_LIMIT - len(rest)].rpartition("\n")[0].rstrip() + rest
    client.update_model_version(name, version, description=text)


class RegistryStore(ClientReader):
    """The promotion log on an MLflow client; see `rewardlab.promotion.Store`."""

    def append(self, name: str, entry: Entry) -> bool:
        """Write an entry whole and return true; false where it cannot be known whether it was written."""
        from mlflow.exceptions import MlflowException

        try:
            make_model(self._client, log_name(name))
            self._client.create_model_version(
                log_name(name), f"runs:/{entry.run}/reports", run_id=entry.run, tags={ENTRY: entry.to_json()}
            )
        except MlflowException as error:  # MLflow gives up after three collisions with others' entries
            if error.get_http_status_code() < 500:  # type: ignore[no-untyped-call]
                raise
            return False
        return True

    def point(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version."""
        self._client.set_registered_model_alias(name, alias, version)


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered(Report):
    """What is shown of a version; `created` is in milliseconds since 1970."""

    version: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    created: int
