"""The promotion log on MLflow's REST API, answered by MLflow's own server in this process, beside MLflow's client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, PERMISSION_DENIED
from mlflow.server import app, handlers

from rewardlab.home import tracking_uri
from rewardlab.mlflow_rest import RestRegistry
from rewardlab.promotion import ClientReader, client_log, move, read
from steps.registry.client import RegistryStore, connect
from tests.promotion_store import entry

FIRST = entry(1)
SECOND = entry(2, FIRST)


@pytest.fixture
def rest(registry: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RestRegistry]:
    """Return the log of the local registry by MLflow's REST API; "m" has versions 1 and 2."""
    for store in ("_tracking_store", "_model_registry_store"):
        monkeypatch.setattr(handlers, store, None)
    handlers.initialize_backend_stores(tracking_uri(), default_artifact_root=str(registry))
    connect().create_registered_model("m")
    for number in (1, 2):
        connect().create_model_version("m", f"s3://bucket/{number}")
    with httpx.Client(transport=httpx.WSGITransport(app=app), base_url="http://localhost") as client:
        yield RestRegistry(client)


def test_both_ways_to_a_registry_show_the_same_log(rest: RestRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = RegistryStore(connect())
    assert rest.records("m") == mine.records("m") == []
    move(rest, "m", FIRST)
    move(mine, "m", SECOND)
    move(rest, "m", entry(1, None, alias="production"))
    for module in ("mlflow_rest", "promotion.reading"):
        monkeypatch.setattr(f"rewardlab.{module}.PAGE", 2)
    wanted = [(1, FIRST.to_json()), (2, SECOND.to_json()), (3, entry(1, None, alias="production").to_json())]
    assert rest.records("m") == mine.records("m") == wanted
    assert rest.aliases("m") == mine.aliases("m") == {"champion": "2", "previous": "1", "production": "1"}
    assert client_log(connect(), "m") == read(rest, "m")


def test_a_log_is_asked_for_page_by_page(rest: RestRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (1, 2, 3):
        rest.append("m", entry(version))
    monkeypatch.setattr("rewardlab.mlflow_rest.PAGE", 2)
    sizes: list[int] = []

    def count(response: httpx.Response) -> None:
        sizes.append(len(json.loads(response.read())["model_versions"]))

    server = httpx.WSGITransport(app=app)
    with httpx.Client(transport=server, base_url="http://localhost", event_hooks={"response": [count]}) as client:
        assert [number for number, _ in RestRegistry(client).records("m")] == [1, 2, 3]
    assert sizes == [2, 1]


def test_the_client_asks_for_a_log_page_by_page(rest: RestRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (1, 2, 3):
        rest.append("m", entry(version))
    monkeypatch.setattr("rewardlab.promotion.reading.PAGE", 2)
    client, pages = connect(), []
    ask = client.search_model_versions
    monkeypatch.setattr(client, "search_model_versions", lambda *it, **how: pages.append(ask(*it, **how)) or pages[-1])
    assert [number for number, _ in ClientReader(client).records("m")] == [1, 2, 3]
    assert [len(page) for page in pages] == [2, 1]


@pytest.mark.parametrize("way", ["rest", "client"])
def test_an_entry_is_a_version_whose_source_is_the_run_with_the_report(way: str, rest: RestRegistry) -> None:
    assert (rest if way == "rest" else RegistryStore(connect())).append("m", FIRST) is True
    (version,) = connect().search_model_versions("name = 'm.log'")
    assert (version.version, version.run_id, version.tags) == (1, "run-1", {"entry": FIRST.to_json()})
    assert version.source == "runs:/run-1/reports"


def test_a_version_of_the_log_without_an_entry_is_void(rest: RestRegistry) -> None:
    connect().create_registered_model("m.log")
    connect().create_model_version("m.log", "s3://bucket/x")
    assert rest.records("m") == RegistryStore(connect()).records("m") == [(1, "")]
    assert move(rest, "m", FIRST).head("champion") == FIRST


def test_what_the_registry_refuses_is_an_error(rest: RestRegistry) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        rest.aliases("nothing")
    with pytest.raises(httpx.HTTPStatusError):
        rest.point("m", "champion", "9")
    for store in (rest, RegistryStore(connect())):
        with pytest.raises((httpx.HTTPStatusError, MlflowException)):
            store.append("bad/name", FIRST)


@pytest.mark.parametrize(("code", "written"), [(INTERNAL_ERROR, False), (PERMISSION_DENIED, None)])
def test_the_client_tells_a_refusal_from_a_failure(
    code: int, written: bool | None, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MlflowException("no", code)

    monkeypatch.setattr(MlflowClient, "create_model_version", fail)
    store = RegistryStore(connect())
    if written is None:
        with pytest.raises(MlflowException, match=r"^no$"):
            store.append("m", FIRST)
    else:
        assert store.append("m", FIRST) is written


def answering(failure: Any) -> RestRegistry:
    """Return a store on a server that has the log, and answers with a status or an error to an entry."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("registered-models/create"):
            return httpx.Response(400, json={"error_code": "RESOURCE_ALREADY_EXISTS"})
        if isinstance(failure, Exception):
            raise failure
        return httpx.Response(failure, json={})

    return RestRegistry(httpx.Client(base_url="http://server", transport=httpx.MockTransport(answer)))


@pytest.mark.parametrize("failure", [httpx.ReadTimeout("late"), httpx.ConnectError("gone"), 500, 503])
def test_a_lost_answer_is_no_answer(failure: Any) -> None:
    assert answering(failure).append("m", FIRST) is False


@pytest.mark.parametrize("status", [400, 403, 499])
def test_a_refused_entry_is_an_error(status: int) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        answering(status).append("m", FIRST)


@pytest.mark.parametrize(("status", "code"), [(500, "RESOURCE_ALREADY_EXISTS"), (400, "INVALID_PARAMETER_VALUE")])
def test_a_log_that_cannot_be_made_is_an_error(status: int, code: str) -> None:
    answer = httpx.MockTransport(lambda _: httpx.Response(status, json={"error_code": code}))
    with httpx.Client(base_url="http://server", transport=answer) as client, pytest.raises(httpx.HTTPStatusError):
        RestRegistry(client).append("m", FIRST)
