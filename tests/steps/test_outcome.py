"""How a run is told to have ended when its report fails, or a step dies behind the promotion."""

from pathlib import Path
from typing import Any

import pytest

from rewardlab.files import read_json
from rewardlab.promotion import client_log
from steps.common.run_record import recorded
from steps.promote import promote
from steps.registry.client import connect, pipeline_run
from steps.registry.step_failures import CLUSTER_RUN, CLUSTER_STEP
from steps.report import ReportConfig, conclude
from steps.report import report as write_report
from tests.gated import add, report
from tests.report_records import stopped

CONFIG = ReportConfig(name="m", run_id="run", lineage={"recipe": "smoke"})
PARTS: dict[str, Any] = {"split": {"train": 10, "validation": 1, "test": 2, "dropped": {}}}


@pytest.fixture
def run_folder(registry: Path, tmp_path: Path, tiny_bundle: Path) -> Path:
    """Return the folder of a run that was promoted and whose next step failed."""
    gate = report(tmp_path, tiny_bundle)
    promote("run", add(gate, tiny_bundle), gate, "")
    folder = tmp_path / "runs" / "run"
    stopped("report", "the disk is full").write(folder)
    return folder


def test_a_report_that_fails_behind_a_promotion_does_not_hide_it(run_folder: Path) -> None:
    conclude(CONFIG, run_folder, PARTS)
    summary = read_json(run_folder / "summary.json")
    assert (summary["decision"], summary["model"]) == ("promoted", "m/1")
    assert summary["reason"] == "because; behind the promotion this failed: report: the disk is full"
    assert read_json(run_folder / "reports" / "split.json") == PARTS["split"]


def test_a_promotion_whose_step_died_behind_the_log_is_told(run_folder: Path) -> None:
    client = connect()
    for key in ("decision", "reason"):
        client.delete_tag(pipeline_run(client, "run"), f"rewardlab.{key}")
    assert write_report(CONFIG, run_folder, state="FAILED").decision == "promoted"
    assert read_json(run_folder / "summary.json")["reason"] == "because"
    assert len(client_log(client, "m").accepted("champion")) == 1


KUBEFLOW_STATES = ("COMPLETE", "RUNNING", "FAILED")
"""What Kubeflow tells the exit handler of runs that ended well: all tasks ended, one was left out, one tried again."""


def rejected(folder: Path, bundle: Path) -> None:
    add(report(folder, bundle, "fail"), bundle)


def unchanged(folder: Path, bundle: Path) -> None:
    add(report(folder, bundle, "unchanged"), bundle)


def held_back(folder: Path, bundle: Path) -> None:
    asked = {"aliases": ["champion"], "people": 1}
    gate = report(folder, bundle, policy={"sign_off": asked, "freshness": None})
    promote("run", add(gate, bundle), gate, "")


def promoted(folder: Path, bundle: Path) -> None:
    gate = report(folder, bundle)
    promote("run", add(gate, bundle), gate, "")


def not_promoted(folder: Path, bundle: Path) -> None:
    """The gate passed, and the step that promotes was killed."""
    add(report(folder, bundle), bundle)


@pytest.mark.parametrize("state", KUBEFLOW_STATES)
@pytest.mark.parametrize(
    ("end", "decision", "reason"),
    [
        (rejected, "rejected", "because"),
        (unchanged, "unchanged", "because"),
        (held_back, "rejected", "sign"),
        (promoted, "promoted", "because"),
        (not_promoted, "failed", "no step said why, as where its pod was killed, and Kubeflow says"),
    ],
)
def test_on_a_cluster_every_end_is_told_whatever_kubeflow_says(  # noqa: PLR0913 (fixtures)
    end: Any,
    decision: str,
    reason: str,
    state: str,
    registry: Path,
    tmp_path: Path,
    tiny_bundle: Path,
    on_cluster: None,
) -> None:
    end(tmp_path, tiny_bundle)
    assert write_report(CONFIG, tmp_path / "run", state=state).decision == decision
    summary = read_json(tmp_path / "run" / "summary.json")
    assert (summary["decision"], reason in summary["reason"]) == (decision, True)
    run = connect().get_run(pipeline_run(connect(), "run"))
    assert run.data.tags["rewardlab.decision"] == decision
    assert run.info.status == ("FAILED" if decision == "failed" else "FINISHED")
    assert (tmp_path / "run" / "model_card.md").exists() == (decision != "failed")


@pytest.fixture
def on_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the step `train` of Kubeflow's run `run`."""
    monkeypatch.setenv(CLUSTER_RUN, "run")
    monkeypatch.setenv(CLUSTER_STEP, "train")


def test_a_step_that_fails_on_a_cluster_leaves_its_reason_with_the_run(
    registry: Path, tmp_path: Path, on_cluster: None
) -> None:
    with pytest.raises(ValueError, match="the loss"), recorded():
        raise ValueError("the loss is nan")
    assert write_report(CONFIG, tmp_path, state="RUNNING").decision == "failed"
    reason = read_json(tmp_path / "summary.json")["reason"]
    assert reason == "train: the loss is nan (run run of Kubeflow Pipelines)"


def test_a_step_that_succeeds_later_takes_its_reason_back(registry: Path, tmp_path: Path, on_cluster: None) -> None:
    with pytest.raises(MemoryError), recorded():
        raise MemoryError
    with recorded():
        pass
    write_report(CONFIG, tmp_path, state="FAILED")
    assert read_json(tmp_path / "summary.json")["reason"].startswith("no step said why")


def test_a_registry_that_is_gone_fails_no_step(
    on_cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with recorded():
        pass
    assert "how this step ended is not noted in the registry: the registry" in capsys.readouterr().err


def test_a_run_that_failed_shows_what_evidence_there_is(registry: Path, tmp_path: Path) -> None:
    stopped("train", "no memory").write(tmp_path)
    conclude(CONFIG, tmp_path, PARTS | {"unknown": {}})
    summary = read_json(tmp_path / "summary.json")
    assert (summary["decision"], summary["reason"]) == ("failed", "train: no memory")
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["split.json"]
    assert "no memory" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("evaluation", [{}, {"model": 1}, {"metrics": None, "data": []}])
def test_a_report_without_its_form_hides_no_end(
    evaluation: Any, registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped("train", "no memory").write(tmp_path)
    conclude(CONFIG, tmp_path, PARTS | {"evaluation": evaluation})
    summary = read_json(tmp_path / "summary.json")
    assert (summary["decision"], summary["reason"], summary["data"]) == ("failed", "train: no memory", None)
    assert read_json(tmp_path / "reports" / "evaluation.json") == evaluation
    assert "the report of evaluation is left out of summary and page: Evaluation" in capsys.readouterr().err
    assert "no memory" in (tmp_path / "report.html").read_text()


def test_behind_the_gate_a_registry_that_is_gone_is_told(
    registry: Path, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    stopped("report", "gone").write(tmp_path)
    conclude(CONFIG, tmp_path, {"gate": read_json(report(tmp_path, tiny_bundle))})
    reason = read_json(tmp_path / "summary.json")["reason"]
    assert reason.startswith("report: gone; whether it was promoted is not known: the registry http://127.0.0.1:9")
