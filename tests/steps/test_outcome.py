"""How a run is told to have ended when its report fails, or a step dies behind the promotion."""

from pathlib import Path
from typing import Any

import pytest

from rewardlab.files import read_json
from rewardlab.promotion import client_log
from steps.promote import promote
from steps.registry.client import connect, pipeline_run
from steps.report import ReportConfig, conclude
from steps.report import report as write_report
from tests.gated import add, report
from tests.report_records import stopped

CONFIG = ReportConfig(name="m", run_id="run", lineage={"recipe": "smoke"}, versions={})
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
    run = pipeline_run(client, "run")
    for key, value in (("decision", "rejected"), ("reason", "the gate passed, promotion did not happen")):
        client.set_tag(run, f"rewardlab.{key}", value)
    assert write_report(CONFIG, run_folder, state="FAILED").decision == "promoted"
    assert read_json(run_folder / "summary.json")["reason"] == "because"
    assert len(client_log(client, "m").accepted("champion")) == 1


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
