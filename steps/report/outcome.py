"""Write how a run ended, however it ended: the summary for programs and the page for people."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import Config
from rewardlab.files import read_json, write_json, write_text
from rewardlab.layout import CARD, GATE_REPORT, LOG, PAGE, REPORTS, REPORTS_FOLDER, RUN_RECORD, SUMMARY, report_file
from rewardlab.promotion import client_log
from rewardlab.reports import Summary
from steps.common.run_record import RunRecord
from steps.registry.client import connect, describe_version, find_run, looks, pipeline_run, stored_json
from steps.registry.promotable import promoted_by
from steps.registry.step_failures import cluster_run, failures
from steps.report.card import model_card
from steps.report.page import render
from steps.report.record import Record, with_their_form

if TYPE_CHECKING:
    from mlflow import MlflowClient


PACKAGES = ("kfp", "mlflow", "torch", "transformers", "onnxruntime", "optimum", "dvc", "great-expectations", "numpy")
"""What runs stand on: a run records their versions, and `rewardlab doctor` looks whether they are there."""
ENDS = ("promoted", "unchanged", "rejected")
"""What the last step of a run decides, `register` or `promote`; a run without it failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig(Config):
    """Which run, and what is known of it before it starts."""

    name: str
    run_id: str
    lineage: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportReport(Config):
    """How the run ended."""

    decision: str


def report(config: ReportConfig, run_folder: Path, *, state: str) -> ReportReport:
    """Collect the evidence from the registry, and write what it says for programs, for people and for the registry.

    `summary.json`, `report.html` and, where there was a decision, `model_card.md` are kept with the MLflow run. The
    card becomes the description of the version, unless that is an older one that the run left unchanged.

    Args:
        config: which run.
        run_folder: is written to; the record in it, if the runner made one, holds seconds, reuse and failures.
        state: how the pipeline ended, in the platform's words. It is told where there is no decision, and decides
            nothing: Kubeflow's is COMPLETE, RUNNING or FAILED for runs that ended well, since it counts tasks that a
            condition leaves out and tries that were tried again.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    client = connect()
    run = pipeline_run(client, config.run_id)
    tags = _told(client, config.name, run)
    documents = {
        entry.path.rpartition("/")[2].removesuffix(".json"): client.download_artifacts(run, entry.path)
        for entry in client.list_artifacts(run, REPORTS_FOLDER)
    }
    kept = {name: read_json(Path(documents[name])) for name in REPORTS if name in documents}
    parts = with_their_form(kept)
    ended = tags.get("decision") in ENDS
    if ended:
        summary = _summary(config, run_folder, parts, tags)
    else:
        summary = _failed_summary(config, run_folder, parts, tags, state=state)
    if measured_on := parts.get("evaluation", {}).get("test_digest"):
        summary = replace(summary, looks=looks(client, measured_on))
    _write_reports(run_folder, kept)
    record = _write(run_folder, summary, parts)
    if ended:
        write_text(run_folder / CARD, card := model_card(record))
        if summary.model and summary.decision != "unchanged":
            describe_version(client, summary.model, card)
    for name in (SUMMARY, PAGE, *([CARD] if ended else [])):
        client.log_artifact(run, str(run_folder / name))
    client.set_tag(run, "rewardlab.decision", summary.decision)
    client.set_terminated(run, "FINISHED" if ended else "FAILED")
    return ReportReport(decision=summary.decision)


def conclude(config: ReportConfig, run_folder: Path, parts: Mapping[str, Any]) -> None:
    """Write how a run ended whose report was not written or knows nothing, by what its steps have left at hand.

    A run whose entry in the promotion log counts was promoted, whatever failed behind that.
    """
    from mlflow.exceptions import MlflowException

    kept = {name: parts[name] for name in REPORTS if name in parts}
    known = with_their_form(kept)
    summary = _failed_summary(config, run_folder, known, {})
    try:
        client = connect()
        run = find_run(client, config.run_id)
        tags = _told(client, config.name, run) if run else {}
    except (ValueError, MlflowException) as error:
        tags = {}
        if "gate" in kept:
            unknown = f"{summary.reason}; whether it was promoted is not known: {error}"
            summary = replace(summary, reason=unknown)
    if tags.get("decision") == "promoted":
        behind = f"{tags['reason']}; behind the promotion this failed: {summary.reason}"
        summary = _summary(config, run_folder, known, {**tags, "reason": behind})
    _write_reports(run_folder, kept)
    _write(run_folder, summary, known)


def _told(client: "MlflowClient", name: str, run: str) -> dict[str, str]:
    """Return what the steps noted of a run; on whether it was promoted, the promotion log has the last word."""
    tags = {key.removeprefix("rewardlab."): value for key, value in client.get_run(run).data.tags.items()}
    if promoted_by(client_log(client, name), run):
        gate = stored_json(client, run, GATE_REPORT) or {}
        return tags | {"decision": "promoted", "reason": str(gate.get("reason"))}
    return tags


def _write_reports(run_folder: Path, documents: Mapping[str, Any]) -> None:
    for name, document in documents.items():
        write_json(run_folder / report_file(name), document)


def _write(run_folder: Path, summary: Summary, parts: Mapping[str, Any]) -> Record:
    write_json(run_folder / SUMMARY, summary.to_dict())
    record = Record.read(summary, parts)
    write_text(run_folder / PAGE, render(record))
    return record


def _failed_summary(
    config: ReportConfig, run_folder: Path, parts: Mapping[str, Any], tags: Mapping[str, str], *, state: str = ""
) -> Summary:
    """Return the summary of a run that ended before a decision."""
    failed = _steps(run_folder).failed or failures(tags)
    reason = "; ".join(f"{step}: {text}" for step, text in failed.items())
    if run := cluster_run():
        unsaid = f"no step said why, as where its pod was killed, and Kubeflow says {state}"
        reason = f"{reason or unsaid} (run {run} of Kubeflow Pipelines)"
    reason = reason or f"no decision, see {run_folder / LOG}"
    return _summary(config, run_folder, parts, {"decision": "failed", "reason": reason})


def _summary(config: ReportConfig, run_folder: Path, parts: Mapping[str, Any], tags: Mapping[str, str]) -> Summary:
    """Return the summary of a run by what is noted of it.

    Raises:
        ValueError: the decision is none that there is.
    """
    evaluation = parts.get("evaluation", {})
    steps = _steps(run_folder)
    page = run_folder / PAGE
    return Summary.from_dict(
        {
            **{name: evaluation[name] for name in ("data", "metrics", "subsets") if name in evaluation},
            "model": tags.get("model"),
            "decision": tags["decision"],
            "reason": tags["reason"],
            "recipe": config.lineage["recipe"],
            "seconds": steps.seconds,
            "reused": steps.reused,
            "versions": {package: version(package) for package in PACKAGES},
            "lineage": {**config.lineage, "run_id": config.run_id, "data_md5": tags.get("data_md5")},
            "report": str(page),
        }
    )


def _steps(run_folder: Path) -> RunRecord:
    """Return what the local runner recorded of steps; on a cluster there is no record."""
    if not cluster_run() and not (run_folder / RUN_RECORD).is_file():
        print(f"{run_folder / RUN_RECORD} is not there: seconds and reuse of steps are unknown", file=sys.stderr)
    return RunRecord.read(run_folder)
