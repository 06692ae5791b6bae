"""MLflow's REST API over httpx: the promotion log, versions and their files, for programs without mlflow."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, Self, TypedDict
from urllib.parse import quote, unquote, urlparse

import httpx

from rewardlab.files import atomic_path, read_json
from rewardlab.layout import MANIFEST
from rewardlab.promotion.entry import Entry
from rewardlab.promotion.log import log_name
from rewardlab.promotion.reading import ENTRY, PAGE, alias_version
from rewardlab.references import ADDRESS
from rewardlab.signing import SIGNATURE

TIMEOUT_SECONDS = 20.0
_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


class _Tag(TypedDict):
    """A tag as MLflow answers it."""

    key: str
    value: str


class _ModelVersion(TypedDict):
    """A version of a registered model as MLflow answers it, with what is read of it here."""

    version: str
    source: str
    tags: NotRequired[list[_Tag]]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model: where its files are, and the digest that its bundle was registered with."""

    name: str
    number: str
    source: str
    digest: str | None


class RestRegistry:
    """The registry on an MLflow server; also a `rewardlab.promotion.Store`.

    The methods of a `Store` raise httpx's errors, the others `ValueError`.

    Args:
        client: knows the server by its `base_url`, and brings credentials, proxies and time limits.

    Example:
        >>> with httpx.Client(base_url="http://127.0.0.1:5000") as client:  # doctest: +SKIP
        ...     head = read(RestRegistry(client), "reward-model").head("champion")
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the registry on the MLflow server that MLflow's own variables name, with their credentials.

        Raises:
            ValueError: `MLFLOW_TRACKING_URI` is not the address of a server.
        """
        uri = environment.get("MLFLOW_TRACKING_URI", "")
        if urlparse(uri).scheme not in ("http", "https"):
            raise ValueError(
                f"a model is followed over HTTP: set MLFLOW_TRACKING_URI to an MLflow server's address, not {uri!r}; "
                "for a local registry, start one with `mlflow server`"
            )
        headers, login = {}, None
        if token := environment.get("MLFLOW_TRACKING_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        elif user := environment.get("MLFLOW_TRACKING_USERNAME"):
            login = (user, environment.get("MLFLOW_TRACKING_PASSWORD", ""))
        return cls(httpx.Client(base_url=uri, headers=headers, auth=login, timeout=TIMEOUT_SECONDS))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # The promotion log: a `rewardlab.promotion.Store`.

    def records(self, name: str) -> list[tuple[int, str]]:
        """Return number and text of every entry in the log of a registered model."""
        query: dict[str, str | int | None] = {
            "filter": f"name = '{log_name(name)}'",
            "max_results": PAGE,
            "order_by": "version_number ASC",
        }
        records: list[tuple[int, str]] = []
        while True:
            page = self._get("model-versions/search", query)
            versions: list[_ModelVersion] = page.get("model_versions", [])
            for version in versions:
                records.append((int(version["version"]), _tags(version).get(ENTRY, "")))
            query["page_token"] = page.get("next_page_token")
            if not query["page_token"]:
                return records

    def append(self, name: str, entry: Entry) -> bool:
        """Write an entry whole and return true; false where it cannot be known whether it was written."""
        answer = self._post("registered-models/create", {"name": log_name(name)})
        if answer.status_code != 400 or answer.json().get("error_code") != "RESOURCE_ALREADY_EXISTS":
            answer.raise_for_status()
        body = {
            "name": log_name(name),
            "source": f"runs:/{entry.run}/reports",
            "run_id": entry.run,
            "tags": [{"key": ENTRY, "value": entry.to_json()}],
        }
        try:
            self._post("model-versions/create", body).raise_for_status()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                raise
            return False
        return True

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version that each alias of a registered model names."""
        model = self._get("registered-models/get", {"name": name})["registered_model"]
        return {row["alias"]: str(row["version"]) for row in model.get("aliases", [])}

    def point(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version."""
        self._post("registered-models/alias", {"name": name, "alias": alias, "version": version}).raise_for_status()

    # Versions, their files, and what is kept with a run.

    def find(self, address: str) -> Version:
        """Return the version of `models:/NAME/VERSION` or `models:/NAME@ALIAS`; an alias stands for what the log says.

        Raises:
            ValueError: there is no such version, or the registry cannot be reached.
        """
        match = ADDRESS.fullmatch(address)
        if not match:
            raise ValueError(f"a model is models:/NAME/VERSION or models:/NAME@ALIAS, got {address!r}")
        name = match["name"]
        try:
            number = match["version"] or alias_version(self, name, match["alias"])
            if number is None:
                raise ValueError(f"{name} has no alias {match['alias']!r}")
            version = self._version(name, number)
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise ValueError(f"{address} cannot be found in {self._client.base_url}: {_reason(error)}") from error
        return Version(name, str(version["version"]), str(version["source"]), _tags(version).get("bundle"))

    def tags(self, name: str, number: str) -> dict[str, str]:
        """Return the tags of a version.

        Raises:
            ValueError: there is no such version, or the registry cannot be reached.
        """
        try:
            return _tags(self._version(name, number))
        except (httpx.HTTPError, KeyError) as error:
            raise ValueError(f"the tags of {name}/{number}: {_reason(error)}") from error

    def document(self, run: str, path: str) -> dict[str, Any]:
        """Return a JSON document that is kept with an MLflow run, such as the gate's report.

        Raises:
            ValueError: there is none, or it does not lie with MLflow's server.
        """
        try:
            place = self._get("runs/get", {"run_id": run})["run"]["info"]["artifact_uri"]
            answer = self._client.get(f"{_base_of(place)}/{path}").raise_for_status()
            document: dict[str, Any] = answer.json()
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise ValueError(f"{path} of the run {run}: {_reason(error)}") from error
        return document

    def fetch(self, version: Version, target: Path) -> None:
        """Bring a version's bundle into a folder, whole or not at all.

        Raises:
            ValueError: its files cannot be had, or are not those that were registered.
        """
        try:
            with atomic_path(target) as scratch:
                self._bring(version.source, scratch)
        except (httpx.HTTPError, OSError) as error:
            raise ValueError(f"the files of {version.name}/{version.number}: {_reason(error)}") from error
        if version.digest and read_json(target / MANIFEST).get("digest") != version.digest:
            shutil.rmtree(target)
            raise ValueError(
                f"{version.name}/{version.number} is not the bundle that was registered ({version.digest[:12]})"
            )

    def _bring(self, source: str, target: Path) -> None:
        place = urlparse(source)
        if place.scheme in ("", "file"):
            shutil.copytree(unquote(place.path), target)
            return
        base = _base_of(source)
        target.mkdir()
        self._download(f"{base}/{MANIFEST}", target / MANIFEST)
        manifest = read_json(target / MANIFEST)
        for name in (*manifest.get("files", {}), *([SIGNATURE] if manifest.get("signed") else [])):
            if Path(name).name != name:
                raise ValueError(f"the manifest names the file {name!r}, which is no plain name")
            self._download(f"{base}/{quote(name)}", target / name)

    def _download(self, url: str, target: Path) -> None:
        with self._client.stream("GET", url) as answer, target.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                file.write(chunk)

    def _version(self, name: str, number: str) -> _ModelVersion:
        version: _ModelVersion = self._get("model-versions/get", {"name": name, "version": number})["model_version"]
        return version

    def _get(self, path: str, query: Mapping[str, str | int | None]) -> dict[str, Any]:
        values: dict[str, Any] = self._client.get(f"{_API}/{path}", params=query).raise_for_status().json()
        return values

    def _post(self, path: str, body: Mapping[str, object]) -> httpx.Response:
        return self._client.post(f"{_API}/{path}", json=body)


def _base_of(source: str) -> str:
    """Return the path at which the server gives out the files of an artifact address."""
    place = urlparse(source)
    if place.scheme != "mlflow-artifacts":
        raise ValueError(
            f"the files lie at {place.scheme}://, not with MLflow's server: start it with --artifacts-destination"
        )
    return f"{_ARTIFACTS}/{place.path.strip('/')}"


def _tags(version: _ModelVersion) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in version.get("tags", [])}


def _reason(error: Exception) -> str:
    """Return what went wrong, with the server's own words where it has some."""
    if isinstance(error, httpx.HTTPStatusError):
        try:
            return str(error.response.json()["message"])[:300]
        except (ValueError, KeyError, TypeError, httpx.ResponseNotRead):
            return f"status {error.response.status_code}"
    return str(error) or type(error).__name__
