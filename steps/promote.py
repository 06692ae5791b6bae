"""Move the alias `champion` to a version that passed the gate, unless the champion has changed since."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardlab.config import Config
from rewardlab.files import read_json
from steps.registry import ChampionRecord, StaleError, connect, move_champion, pipeline_run, set_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, kw_only=True, slots=True)
class PromoteReport(Config):
    """What happened, and why."""

    decision: Literal["promoted", "unchanged", "rejected"]
    reason: str


def promote(run_id: str, label: str, gate: Path, champion: str) -> PromoteReport:
    """Promote a registered version; a candidate that lost a race is rejected as stale.

    Where another run has promoted the same bundle meanwhile, nothing changes.

    Args:
        run_id: the pipeline run.
        label: `NAME/VERSION` of the candidate.
        gate: the gate's report on it.
        champion: the record, as JSON, of the champion that the gate compared with, or nothing.

    Raises:
        ValueError: the gate did not pass this candidate.
    """
    name, _, version = label.rpartition("/")
    decision = read_json(gate)
    client = connect()
    registered = client.get_model_version(name, version).tags.get("bundle")
    if decision["verdict"] != "pass" or decision["bundle"] != registered:
        raise ValueError(f"{label} did not pass the gate ({decision['verdict']}: {decision['reason']})")
    run = pipeline_run(client, run_id)
    expected = ChampionRecord.from_json(champion).version if champion else None
    try:
        if move_champion(client, name, version, expected=expected) or _promoted_before(client, run):
            report = PromoteReport(decision="promoted", reason=decision["reason"])
        else:
            report = PromoteReport(decision="unchanged", reason=f"another run has promoted the same bundle ({label})")
    except StaleError as error:
        report = PromoteReport(decision="rejected", reason=str(error))
    if report.decision != "unchanged":
        set_tags(client, name, version, {"decision": report.decision})
    client.set_tag(run, "rewardlab.decision", report.decision)
    client.set_tag(run, "rewardlab.reason", report.reason[:5000])
    return report


def _promoted_before(client: "MlflowClient", run: str) -> bool:
    """Return whether this very run moved the alias, in an earlier try of this step."""
    return client.get_run(run).data.tags.get("rewardlab.decision") == "promoted"
