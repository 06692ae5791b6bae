"""The registry against a real MLflow on SQLite."""

from pathlib import Path

import pytest

from rewardlab.bundle import Bundle
from rewardlab.files import write_json
from rewardlab.promotion import client_log
from rewardlab.references import resolve
from steps.promote import promote
from steps.register import RegisterConfig, register
from steps.registry.client import champion_record, connect
from steps.registry.versions import list_versions, promote_version, roll_back
from tests.gated import add, crown, report, sealed


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return sealed(tmp_path / "first", "a model")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return sealed(tmp_path / "second", "another")


def champion() -> str:
    """Return the record of the champion of "m", as JSON."""
    record = champion_record(connect(), "m")
    return record.to_json() if record else ""


def test_first_candidate_is_promoted_and_loads(registry: Path, tmp_path: Path, first: Path) -> None:
    gate = report(tmp_path, first)
    assert promote("run", add(gate, first), gate, "").decision == "promoted"
    record = champion_record(connect(), "m")
    head = client_log(connect(), "m").head("champion")
    assert record
    assert head
    assert record.to_dict() == {
        "label": "m/1",
        "bundle": Bundle.open(first).digest,
        "test_digest": "t",
        "entry": head.digest,
    }
    assert record.version == "1"
    folder, found = resolve("models:/m@champion")
    assert (found, sorted(path.name for path in folder.iterdir())) == (
        "m/1",
        sorted(path.name for path in first.iterdir()),
    )


def test_the_same_bundle_is_registered_once(registry: Path, tmp_path: Path, first: Path) -> None:
    gate = report(tmp_path, first)
    assert [add(gate, first), add(gate, first, run_id="again")] == ["m/1", "m/1"]
    assert len(list_versions("m")) == 1


def test_a_bundle_with_other_golden_texts_is_another_version(registry: Path, tmp_path: Path, first: Path) -> None:
    other = sealed(tmp_path / "other", "a model", golden="[]")
    assert Bundle.open(other).digest == Bundle.open(first).digest
    gate = report(tmp_path, first)
    assert [add(gate, each, run_id=each.name) for each in (first, other, first)] == ["m/1", "m/2", "m/1"]


def test_a_rejected_candidate_is_registered_and_cannot_be_promoted(registry: Path, tmp_path: Path, first: Path) -> None:
    gate = report(tmp_path, first, "fail")
    label = add(gate, first)
    with pytest.raises(ValueError, match="did not pass"):
        promote("run", label, gate, "")
    with pytest.raises(ValueError, match="did not pass"):
        promote_version("m", "1")
    assert champion() == ""


def test_a_report_that_the_registry_does_not_keep_promotes_nothing(registry: Path, tmp_path: Path, first: Path) -> None:
    label = add(report(tmp_path, first, "fail"), first)
    forged = report(tmp_path, first)
    with pytest.raises(ValueError, match="does not keep the report"):
        promote("run", label, forged, "")
    with pytest.raises(ValueError, match="does not keep the report"):
        promote("another run", label, forged, "")
    assert (champion(), client_log(connect(), "m").lines) == ("", ())


def test_a_gate_on_another_bundle_does_not_register(registry: Path, tmp_path: Path, first: Path) -> None:
    write_json(tmp_path / "gate.json", {"verdict": "pass", "reason": "", "bundle": "0" * 64, "test_digest": "t"})
    config = RegisterConfig(name="m", run_id="run", lineage={}, data_md5="md5")
    digest = Bundle.open(first).digest[:12]
    with pytest.raises(ValueError, match=rf"^the gate decided on bundle {'0' * 12}, this is {digest}$"):
        register(config, first, {"gate": tmp_path / "gate.json"})


def test_a_candidate_that_lost_a_race_is_stale(registry: Path, tmp_path: Path, first: Path, second: Path) -> None:
    gates = [report(tmp_path / name, bundle) for name, bundle in (("a", first), ("b", second))]
    winner, loser = add(gates[0], first, run_id="a"), add(gates[1], second, run_id="b")
    assert promote("a", winner, gates[0], "").decision == "promoted"
    late = promote("b", loser, gates[1], "")
    assert late.decision == "rejected"
    assert late.reason == "stale: champion of m is version 1 since, by another promotion"
    assert list_versions("m")[0].tags["decision"] == "rejected"
    assert client_log(connect(), "m").projection() == {"champion": "1"}


def test_a_rollback_makes_what_was_gated_before_it_stale(
    registry: Path, tmp_path: Path, first: Path, second: Path
) -> None:
    crown(tmp_path, first)
    before = champion()
    crown(tmp_path, second, champion="m/1")
    roll_back("m")
    gate = report(tmp_path, second, champion="m/1", reason="another")
    label = add(gate, second, run_id="late")
    assert promote("late", label, gate, before).decision == "rejected"  # m/1 is champion, by another entry


def test_rollback_restores_the_previous_champion(registry: Path, tmp_path: Path, first: Path, second: Path) -> None:
    crown(tmp_path, first)
    gate = report(tmp_path, second, champion="m/1")
    assert promote("b", add(gate, second, run_id="b"), gate, champion()).decision == "promoted"
    assert "m/1 is champion again" in roll_back("m")
    assert {row.version: row.aliases for row in list_versions("m")} == {"1": ("champion",), "2": ("previous",)}
    assert "m/2 is champion again" in roll_back("m")
    assert [entry.action for entry in client_log(connect(), "m").accepted("champion")] == ["promote"] * 2 + [
        "rollback"
    ] * 2


def test_rollback_to_a_version_that_is_gone_is_refused(
    registry: Path, tmp_path: Path, first: Path, second: Path
) -> None:
    crown(tmp_path, first)
    crown(tmp_path, second, champion="m/1")
    connect().delete_model_version("m", "1")
    with pytest.raises(ValueError, match="refuses: Model Version"):
        roll_back("m")
    assert resolve("models:/m@champion")[1] == "m/2"


def test_rollback_without_a_previous_champion_is_refused(registry: Path) -> None:
    with pytest.raises(ValueError, match="no previous champion"):
        roll_back("m")


@pytest.mark.parametrize("ref", ["7", "champion", "models:/m@champion", "models:/m/3"])
def test_a_reference_to_nothing_says_so(registry: Path, ref: str) -> None:
    with pytest.raises(ValueError, match="m has no"):
        resolve(ref, name="m")
    connect().create_registered_model("m")
    with pytest.raises(ValueError, match="m has no"):
        resolve(ref, name="m")


def test_an_unreachable_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    advice = "start it, or set MLFLOW_TRACKING_URI, or unset it for a local one"
    with pytest.raises(
        ValueError, match=rf"^the registry http://127\.0\.0\.1:9 cannot be reached: {advice} \(.{{200}}\)$"
    ):
        connect()
    assert not (tmp_path / "home").exists()


def test_a_run_that_promotes_what_another_has_just_promoted_is_unchanged(
    registry: Path, tmp_path: Path, first: Path
) -> None:
    gate = report(tmp_path, first)
    label = {add(gate, first, run_id=run) for run in ("a", "b")}
    assert label == {"m/1"}
    for run, decision in (("a", "promoted"), ("b", "unchanged"), ("a", "promoted")):
        told = promote(run, "m/1", gate, "")
        assert told.decision == decision
        assert told.reason == ("because" if run == "a" else "another run has promoted the same bundle (m/1)")
        assert connect().get_model_version("m", "1").tags["decision"] == "promoted"
    assert len(client_log(connect(), "m").accepted("champion")) == 1
