"""The registry against a real MLflow on SQLite."""

from pathlib import Path

import pytest

from pipelines.registry import list_versions, promote_version, roll_back
from rewardlab.files import write_json
from rewardlab.references import resolve
from steps.promote import promote
from steps.register import RegisterConfig, register
from steps.registry import ChampionRecord, champion_record, connect


def decide(folder: Path, bundle: Path, verdict: str = "pass") -> Path:
    from rewardlab.bundle import Bundle

    target = folder / f"gate-{verdict}.json"
    decision = {"verdict": verdict, "reason": "because", "bundle": Bundle.open(bundle).digest, "test_digest": "t"}
    write_json(target, decision)
    return target


def add(tmp_path: Path, bundle: Path, verdict: str = "pass", run_id: str = "run") -> str:
    config = RegisterConfig(name="m", run_id=run_id, lineage={"recipe": "smoke"}, data_md5="md5")
    return register(config, bundle, {"gate": decide(tmp_path, bundle, verdict)}).label


def test_first_candidate_is_promoted_and_loads(registry: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    label = add(tmp_path, tiny_bundle)
    assert promote("run", label, decide(tmp_path, tiny_bundle), "").decision == "promoted"
    folder, found = resolve("models:/m@champion")
    assert (found, sorted(path.name for path in folder.iterdir())) == (
        "m/1",
        sorted(path.name for path in tiny_bundle.iterdir()),
    )


def test_the_same_bundle_is_registered_once(registry: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    assert [add(tmp_path, tiny_bundle), add(tmp_path, tiny_bundle, run_id="again")] == ["m/1", "m/1"]
    assert len(list_versions("m")) == 1


def test_a_rejected_candidate_is_registered_and_cannot_be_promoted(
    registry: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    label = add(tmp_path, tiny_bundle, "fail")
    with pytest.raises(ValueError, match="did not pass"):
        promote("run", label, decide(tmp_path, tiny_bundle, "fail"), "")
    with pytest.raises(ValueError, match="did not pass"):
        promote_version("m", "1")
    assert champion_record(connect(), "m") is None


def test_a_gate_on_another_bundle_does_not_register(registry: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    write_json(tmp_path / "gate.json", {"verdict": "pass", "reason": "", "bundle": "other", "test_digest": "t"})
    config = RegisterConfig(name="m", run_id="run", lineage={}, data_md5="md5")
    with pytest.raises(ValueError, match="the gate decided on"):
        register(config, tiny_bundle, {"gate": tmp_path / "gate.json"})


def test_a_candidate_that_lost_a_race_is_stale(
    registry: Path, tmp_path: Path, tiny_bundle: Path, other_bundle: Path
) -> None:
    winner, loser = add(tmp_path, tiny_bundle, run_id="a"), add(tmp_path, other_bundle, run_id="b")
    assert promote("a", winner, decide(tmp_path, tiny_bundle), "").decision == "promoted"
    late = promote("b", loser, decide(tmp_path, other_bundle), "")
    assert late.decision == "rejected"
    assert late.reason.startswith("stale")
    found = champion_record(connect(), "m")
    assert found is not None
    assert found.label == winner


def test_rollback_restores_the_previous_champion(
    registry: Path, tmp_path: Path, tiny_bundle: Path, other_bundle: Path
) -> None:
    first = add(tmp_path, tiny_bundle, run_id="a")
    promote("a", first, decide(tmp_path, tiny_bundle), "")
    record = champion_record(connect(), "m")
    assert isinstance(record, ChampionRecord)
    promote("b", add(tmp_path, other_bundle, run_id="b"), decide(tmp_path, other_bundle), record.to_json())
    assert "m/1 is champion again" in roll_back("m")
    aliases = {row["version"]: row["aliases"] for row in list_versions("m")}
    assert aliases == {"1": ["champion"], "2": ["previous"]}


def test_rollback_without_a_previous_champion_is_refused(registry: Path) -> None:
    with pytest.raises(ValueError, match="no previous champion"):
        roll_back("m")


@pytest.mark.parametrize("ref", ["7", "champion", "models:/m@champion", "models:/m/3"])
def test_a_reference_to_nothing_says_so(registry: Path, ref: str) -> None:
    with pytest.raises(ValueError, match="has no"):
        resolve(ref, name="m")


def test_an_unreachable_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        connect()


def test_a_run_that_promotes_what_another_has_just_promoted_is_unchanged(
    registry: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    first, second = add(tmp_path, tiny_bundle, run_id="a"), add(tmp_path, tiny_bundle, run_id="b")
    gate = decide(tmp_path, tiny_bundle)
    assert [promote(run, first, gate, "").decision for run in ("a", "b", "a")] == ["promoted", "unchanged", "promoted"]
    assert first == second
