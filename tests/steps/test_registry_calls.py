"""What is written to MLflow and read back: runs, versions, tags, documents, descriptions."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from rewardlab.bundle import Bundle
from rewardlab.files import read_json
from rewardlab.home import MLFLOW_SETTINGS
from rewardlab.layout import GATE_REPORT
from rewardlab.promotion import ClientReader, alias_version, client_log
from steps.promote import promote
from steps.registry.client import (
    by_contents,
    champion_record,
    connect,
    describe_version,
    experiment,
    find_run,
    looks,
    make_model,
    pipeline_run,
    stored_json,
)
from tests.gated import add, crown, report, sealed


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return sealed(tmp_path / "first", "a model")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return sealed(tmp_path / "second", "another")


def test_a_registry_is_made_where_there_is_none_and_asked_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REWARDLAB_HOME", str(tmp_path / "deep" / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for key in MLFLOW_SETTINGS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    client = connect()
    assert {key: os.environ[key] for key in MLFLOW_SETTINGS} == {**MLFLOW_SETTINGS, "MLFLOW_HTTP_REQUEST_TIMEOUT": "7"}
    assert (tmp_path / "deep" / "home" / "mlflow.db").is_file()
    number = experiment(client)
    assert client.get_experiment(number).artifact_location == str(tmp_path / "deep" / "home" / "artifacts")
    assert (experiment(client), client.get_experiment(number).name) == (number, "rewardlab")


def test_a_server_says_itself_where_it_keeps_artifacts(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert not client.get_experiment(experiment(client)).artifact_location.startswith(str(registry))


def test_an_experiment_that_is_there_is_found_without_writing(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect()
    number = experiment(client)
    monkeypatch.delattr(MlflowClient, "create_experiment")  # as for who may only read
    assert experiment(client) == number


def test_two_first_runs_make_the_registry_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLAB_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(tmp_path / "mlflow.lock"):
            second = pool.submit(connect)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.5)
            assert not (tmp_path / "mlflow.db").exists()
        assert second.result().search_experiments()


def test_of_two_who_make_the_experiment_the_slower_takes_the_others(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect()
    number = experiment(client)
    ask, asked = client.get_experiment_by_name, iter((None, ...))
    monkeypatch.setattr(client, "get_experiment_by_name", lambda name: ask(name) if next(asked) else None)
    assert experiment(client) == number
    monkeypatch.setattr(client, "get_experiment_by_name", lambda _: None)
    with pytest.raises(MlflowException, match="already exists"):
        experiment(client)


def test_a_pipeline_run_has_one_run_of_mlflow(registry: Path) -> None:
    client = connect()
    assert find_run(client, "a") == ""
    made = pipeline_run(client, "a")
    assert pipeline_run(client, "a") == find_run(client, "a") == made
    assert pipeline_run(client, "b") != made
    found = client.get_run(made)
    assert (found.info.run_name, found.data.tags["rewardlab.run_id"]) == ("a", "a")


def test_the_newest_version_with_the_same_contents_is_found(registry: Path) -> None:
    client = connect()
    client.create_registered_model("m")
    assert by_contents(client, "m", "x") is None
    for number in range(11):
        client.create_model_version("m", f"s3://bucket/{number}", tags={"contents": "y" if number == 10 else "x"})
    assert [by_contents(client, "m", contents) for contents in ("x", "y", "z")] == ["10", "11", None]


def test_an_alias_that_no_promotion_set_is_no_champion(registry: Path, tmp_path: Path, first: Path) -> None:
    add(report(tmp_path, first), first)
    assert champion_record(connect(), "m") is None
    connect().set_registered_model_alias("m", "champion", "1")
    with pytest.raises(ValueError, match=r"^version 1 has the alias champion of m, but no promotion made it so: "):
        champion_record(connect(), "m")


def test_an_alias_names_a_version_or_nothing(registry: Path, tmp_path: Path, first: Path) -> None:
    client = connect()
    assert champion_record(client, "m") is None  # no such model

    def fail(*_: object) -> None:
        raise MlflowException("no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "get_registered_model", fail)
        with pytest.raises(MlflowException, match=r"^no$"):
            champion_record(client, "m")
    crown(tmp_path, first)
    assert [alias_version(ClientReader(client), "m", alias) for alias in ("champion", "mine")] == ["1", None]


def test_a_model_is_made_once(registry: Path) -> None:
    make_model(connect(), "m")
    make_model(connect(), "m")
    assert connect().get_registered_model("m").name == "m"
    with pytest.raises(MlflowException):
        make_model(connect(), "bad/name")


def test_a_document_is_found_by_its_path(registry: Path) -> None:
    client = connect()
    run = pipeline_run(client, "a")
    client.log_dict(run, {"a": 1}, "reports/gate.json")
    client.log_dict(run, {"b": 1}, "bundles/new/manifest.json")
    assert stored_json(client, run, "bundles/new/manifest.json") == {"b": 1}
    assert stored_json(client, run, "reports/gate.json") == {"a": 1}
    assert stored_json(client, run, "reports/other.json") is None
    assert stored_json(client, run, "nothing/gate.json") is None


def test_the_bundles_gated_on_a_test_set_are_counted(registry: Path, tmp_path: Path, first: Path, second: Path) -> None:
    for bundle, name in ((first, "m"), (second, "m"), (first, "n")):
        add(report(tmp_path, bundle), bundle, name=name)
    assert [looks(connect(), digest) for digest in ("t", "u")] == [2, 0]


def test_a_registered_version_says_what_it_is(registry: Path, tmp_path: Path, first: Path) -> None:
    gate = report(tmp_path, first, "fail", reason="because" * 1000)
    label = add(gate, first, run_id="one")
    version = connect().get_model_version("m", "1")
    digest = Bundle.open(first).digest
    assert (label, str(version.version), [*version.aliases]) == ("m/1", "1", [])
    assert version.tags == {
        "recipe": "smoke",
        "data_md5": "md5",
        "bundle": digest,
        "contents": Bundle.open(first).contents,
        "test_digest": "t",
        "verdict": "fail",
        "parity": "0.00123",
        "run_id": "one",
    }
    run = find_run(connect(), "one")
    told = {key: value for key, value in connect().get_run(run).data.tags.items() if key.startswith("rewardlab.")}
    assert told == {
        "rewardlab.run_id": "one",
        "rewardlab.model": "m/1",
        "rewardlab.data_md5": "md5",
        "rewardlab.decision": "rejected",
        "rewardlab.reason": ("because" * 1000)[:5000],
    }
    assert stored_json(connect(), run, GATE_REPORT) == read_json(gate)
    found = connect().get_model_version("m", "1")
    assert (found.run_id, found.source.rpartition("/artifacts/")[2]) == (run, f"bundles/{digest[:16]}")


@pytest.mark.parametrize(
    ("verdict", "decision", "reason"),
    [
        ("pass", None, None),
        ("fail", "rejected", "because"),
        ("unchanged", "unchanged", "because"),
    ],
)
def test_what_the_gate_decided_is_noted_and_a_version_that_passed_is_not_decided_on(
    verdict: str, decision: str | None, reason: str | None, registry: Path, tmp_path: Path, first: Path
) -> None:
    add(report(tmp_path, first, "fail", reason="before"), first, run_id="before")
    add(report(tmp_path, first, verdict), first, run_id="run")
    tags = connect().get_run(pipeline_run(connect(), "run")).data.tags
    assert (tags.get("rewardlab.decision"), tags.get("rewardlab.reason")) == (decision, reason)
    found = connect().get_model_version("m", "1").tags
    wanted = ("fail", "before") if verdict == "unchanged" else (verdict, "run")
    assert (found["verdict"], found["run_id"]) == wanted


def test_a_promotion_is_noted_with_the_run_and_the_version(registry: Path, tmp_path: Path, first: Path) -> None:
    gate = report(tmp_path, first, reason="x" * 6000)
    told = promote("run", add(gate, first), gate, "")
    assert (told.decision, told.reason) == ("promoted", "x" * 6000)
    tags = connect().get_run(pipeline_run(connect(), "run")).data.tags
    assert (tags["rewardlab.decision"], tags["rewardlab.reason"]) == ("promoted", "x" * 5000)
    assert connect().get_model_version("m", "1").tags["decision"] == "promoted"
    head = client_log(connect(), "m").head("champion")
    assert head is not None
    assert head.by == "run run"


def test_a_version_is_described_up_to_mlflows_limit(registry: Path, tmp_path: Path, first: Path) -> None:
    label = add(report(tmp_path, first), first)
    rest = "\n\nThe rest is in model_card.md of the run.\n"
    for text, wanted in (
        ("short", "short"),
        ("y" * 5000, "y" * 5000),
        ("line \n" * 1000, ("line \n" * 826).rstrip() + rest),
    ):
        describe_version(connect(), label, text)
        assert connect().get_model_version("m", "1").description == wanted


def test_an_upload_may_take_half_an_hour_and_no_other_call(
    registry: Path, tmp_path: Path, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, waits = MlflowClient.log_artifacts, []

    def log_artifacts(client: MlflowClient, *arguments: Any, **named: Any) -> None:
        waits.append(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])
        upload(client, *arguments, **named)

    monkeypatch.setattr(MlflowClient, "log_artifacts", log_artifacts)
    add(report(tmp_path, first), first)
    assert (waits, os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) == (["1800"], "20")
