"""Make a version that passed the gate champion, through the promotion log, unless another came first."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardlab.config import Config
from rewardlab.files import read_json
from rewardlab.promotion import Entry, StaleError, move, project, read
from rewardlab.promotion.log import CHAMPION
from steps.registry.client import ChampionRecord, RegistryStore, connect, pipeline_run, set_tags
from steps.registry.promotable import Candidate, HeldBackError, promoted_by, promotion

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, kw_only=True, slots=True)
class PromoteReport(Config):
    """What happened, and why."""

    decision: Literal["promoted", "unchanged", "rejected"]
    reason: str


def promote(run_id: str, label: str, gate: Path, champion: str) -> PromoteReport:
    """Promote a registered version; a candidate that lost a race is rejected as stale.

    Where another run has promoted the same bundle meanwhile, nothing changes. A run that died in the middle may call
    this again, however much later: what it has reached counts, and what others have done since stays.

    Args:
        run_id: the pipeline run.
        label: `NAME/VERSION` of the candidate.
        gate: the gate's report on it.
        champion: the record, as JSON, of the champion that the gate compared with, or nothing.

    Raises:
        ValueError: the gate did not pass this candidate, or not against this champion.
    """
    name, version = label.split("/")
    client = connect()
    candidate = Candidate(name=name, version=version, run=pipeline_run(client, run_id), report=read_json(gate))
    record = ChampionRecord.from_json(champion) if champion else None
    against, follows = (record.label, record.entry) if record else ("", "")
    compared = candidate.report.get("champion")
    if compared != against:
        raise ValueError(f"the gate on {label} compared with the champion {compared!r}, not with {against!r}")
    report = _promote(client, candidate, follows, by=f"run {run_id}")
    if report.decision != "unchanged":
        set_tags(client, name, version, {"decision": report.decision})
    client.set_tag(candidate.run, "rewardlab.reason", report.reason[:5000])
    client.set_tag(candidate.run, "rewardlab.decision", report.decision)
    return report


def _promote(client: "MlflowClient", candidate: Candidate, follows: str, *, by: str) -> PromoteReport:
    store = RegistryStore(client)
    try:
        move(store, candidate.name, promotion(client, candidate, follows=follows, by=by))
    except (HeldBackError, StaleError) as error:
        log = read(store, candidate.name)
        if not promoted_by(log, candidate.run):
            return _refused(candidate, log.head(CHAMPION), str(error))
        project(store, candidate.name)
    return PromoteReport(decision="promoted", reason=str(candidate.report.get("reason")))


def _refused(candidate: Candidate, head: Entry | None, reason: str) -> PromoteReport:
    if head and head.version == candidate.version:
        same = f"another run has promoted the same bundle ({candidate.label})"
        return PromoteReport(decision="unchanged", reason=same)
    return PromoteReport(decision="rejected", reason=reason)
