"""Versions, bundles and documents over MLflow's REST API, from a server in memory that answers as MLflow does."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from rewardlab.bundle import MANIFEST, Bundle
from rewardlab.files import read_json
from rewardlab.mlflow_rest import RestRegistry, Version
from tests.promotion_store import entry

SOURCE = "mlflow-artifacts:/1/run/artifacts/bundles/b"
FILES = "/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts"
CHAMPION = entry(2)


def version_of(number: str, *, tags: Mapping[str, str] | None = None, source: str = SOURCE) -> dict[str, Any]:
    rows = [{"key": key, "value": value} for key, value in (tags or {}).items()]
    return {"model_version": {"version": number, "source": source, "tags": rows}}


def registry_of(pages: Mapping[str, Any]) -> RestRegistry:
    """Return a registry on a server with these pages; what it lacks is a 404 in MLflow's own words."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/2.0/mlflow/")
        version = request.url.params.get("version")
        page = pages.get(f"{path}/{version}" if version else path)
        if isinstance(page, bytes):
            return httpx.Response(200, content=page)
        if page is None:
            return httpx.Response(404, json={"message": f"no {path}"})
        return httpx.Response(200, json=page)

    return RestRegistry(httpx.Client(base_url="http://server", transport=httpx.MockTransport(answer)))


def test_a_version_and_an_alias_are_found() -> None:
    log = {"model_versions": [{"version": "1", "tags": [{"key": "entry", "value": CHAMPION.to_json()}]}]}
    aliases = {
        "registered_model": {"aliases": [{"alias": "champion", "version": "9"}, {"alias": "mine", "version": 3}]}
    }
    versions = {f"model-versions/get/{number}": version_of(number, tags={"bundle": "b"}) for number in "23"}
    registry = registry_of({"model-versions/search": log, "registered-models/get": aliases, **versions})
    assert registry.find("models:/m/3") == Version("m", "3", SOURCE, "b")
    assert registry.find("models:/m@mine").number == "3"
    assert registry.find("models:/m@champion").number == "2"  # the log's, whatever the alias names
    with pytest.raises(
        ValueError, match=r"^models:/m@nobody cannot be found in http://server.*m has no alias 'nobody'"
    ):
        registry.find("models:/m@nobody")
    with pytest.raises(ValueError, match=r"models:/m/4 cannot be found in .*: no model-versions/get$"):
        registry.find("models:/m/4")
    with pytest.raises(ValueError, match="models:/NAME/VERSION or models:/NAME@ALIAS, got 'm@mine'"):
        registry.find("m@mine")


def test_a_version_s_tags_are_read_and_a_version_that_is_not_there_is_named() -> None:
    registry = registry_of({"model-versions/get/1": version_of("1", tags={"approved.ada": "now"})})
    assert registry.tags("m", "1") == {"approved.ada": "now"}
    with pytest.raises(ValueError, match=r"^the tags of m/2: no model-versions/get$"):
        registry.tags("m", "2")


def test_a_document_of_a_run_is_read_and_one_that_cannot_be_is_named() -> None:
    run = {"run": {"info": {"artifact_uri": "mlflow-artifacts:/1/run/artifacts"}}}
    registry = registry_of({"runs/get": run, f"{FILES}/gate.json": {"verdict": "pass"}, f"{FILES}/bad.json": b"<html>"})
    assert registry.document("r", "gate.json") == {"verdict": "pass"}
    with pytest.raises(ValueError, match=r"^bad\.json of the run r: "):
        registry.document("r", "bad.json")
    elsewhere = registry_of({"runs/get": {"run": {"info": {"artifact_uri": "s3://bucket/1"}}}})
    with pytest.raises(ValueError, match="the files lie at s3://, not with MLflow's server"):
        elsewhere.document("r", "gate.json")


@pytest.mark.parametrize("scheme", ["", "file://", "mlflow-artifacts:"])
def test_a_bundle_is_fetched_whole_or_not_at_all(scheme: str, tiny_bundle: Path, tmp_path: Path) -> None:
    kept = Path(shutil.copytree(tiny_bundle, tmp_path / "kept"))
    pages = {f"{FILES}/bundles/b/{path.name}": path.read_bytes() for path in kept.iterdir()}
    source = SOURCE if scheme == "mlflow-artifacts:" else f"{scheme}{kept}"
    digest = Bundle.open(kept).digest
    registry_of(pages).fetch(Version("m", "1", source, digest), tmp_path / "new")
    assert Bundle.open(tmp_path / "new").digest == digest
    with pytest.raises(ValueError, match=r"^m/1 is not the bundle that was registered \(other\)"):
        registry_of(pages).fetch(Version("m", "1", source, "other"), tmp_path / "other")
    shutil.rmtree(kept)
    with pytest.raises(ValueError, match=r"^the files of m/1: "):
        registry_of({}).fetch(Version("m", "1", source, digest), tmp_path / "gone")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_a_signature_comes_with_a_signed_bundle_and_a_path_in_a_manifest_is_refused(tmp_path: Path) -> None:
    base = f"{FILES}/bundles/b"
    manifest = json.dumps({"files": {"a.json": {}}, "signed": True}).encode()
    pages = {f"{base}/{MANIFEST}": manifest, f"{base}/a.json": b"{}", f"{base}/model.sig": b"signed"}
    registry_of(pages).fetch(Version("m", "1", SOURCE, None), tmp_path / "new")
    assert (tmp_path / "new" / "model.sig").read_bytes() == b"signed"
    assert read_json(tmp_path / "new" / "a.json") == {}
    pages[f"{base}/{MANIFEST}"] = json.dumps({"files": {"../a.json": {}}}).encode()
    with pytest.raises(ValueError, match=r"'\.\./a\.json', which is no plain name"):
        registry_of(pages).fetch(Version("m", "1", SOURCE, None), tmp_path / "bad")


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_USERNAME": "me"}, "Bearer t"),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p"}, "Basic bWU6cA=="),
    ],
)
def test_the_server_and_the_credentials_are_those_of_mlflow_s_variables(
    variables: dict[str, str], header: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[httpx.Request] = []

    def answer(_: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=version_of("1"))

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    registry = RestRegistry.of_environment({"MLFLOW_TRACKING_URI": "http://server:5000", **variables})
    registry.find("models:/m/1")
    registry.close()
    assert (sent[0].url.netloc, sent[0].headers.get("authorization")) == (b"server:5000", header)


def test_a_registry_without_an_address_is_refused() -> None:
    with pytest.raises(ValueError, match="set MLFLOW_TRACKING_URI to an MLflow server's address, not ''"):
        RestRegistry.of_environment({})


def test_a_failure_without_a_message_is_told_by_its_status() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>"))
    registry = RestRegistry(httpx.Client(base_url="http://server", transport=transport))
    with pytest.raises(ValueError, match=r"^the tags of m/1: status 502$"):
        registry.tags("m", "1")
