"""What must hold before the promotion log takes an entry: a passing report that the registry keeps, and signatures."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rewardlab.layout import GATE_REPORT
from rewardlab.promotion import Entry, Log, report_digest
from rewardlab.promotion.log import CHAMPION
from rewardlab.promotion.signing import NotSignedError, signed_off
from steps.registry.client import stored_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLOCKS_APART = timedelta(minutes=5)
"""How far two machines' clocks may be apart."""


class HeldBackError(ValueError):
    """The gate passed the candidate, but too few people have signed, or what the gate saw is too old to act on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A registered version and the gate's report on it, which lies with the MLflow run `run`."""

    name: str
    version: str
    run: str
    report: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Return `NAME/VERSION`."""
        return f"{self.name}/{self.version}"


def promotion(client: "MlflowClient", candidate: Candidate, *, follows: str, by: str) -> Entry:
    """Return the entry that makes a candidate champion.

    Args:
        client: of the registry.
        candidate: which version, and by which report.
        follows: the digest of the entry it follows, or nothing.
        by: who asks for it.

    Raises:
        ValueError: the report does not pass this bundle, or is not the one that the registry keeps.
        HeldBackError: too few people have signed the report, or it is too old.
    """
    report, label = candidate.report, candidate.label
    tags = client.get_model_version(candidate.name, candidate.version).tags
    if not passed(report) or report["bundle"] != tags.get("bundle"):
        raise ValueError(f"{label} did not pass the gate ({report.get('verdict')}: {report.get('reason')})")
    _check_fresh(candidate)
    digest = report_digest(report)
    kept = stored_json(client, candidate.run, GATE_REPORT)
    if kept is None or report_digest(kept) != digest:
        raise ValueError(f"the registry does not keep the report that passed {label}: register it again")
    try:
        signed = signed_off(report, tags, label)
    except NotSignedError as error:
        again = f"`rewardlab promote {candidate.version} --name {candidate.name}`"
        raise HeldBackError(f"{error}, then {again}") from error
    return Entry(
        alias=CHAMPION,
        action="promote",
        version=candidate.version,
        bundle=report["bundle"],
        test_digest=report["test_digest"],
        report=digest,
        run=candidate.run,
        follows=follows,
        signed=signed,
        by=by,
        at=moment(),
    )


def passed(report: Mapping[str, Any]) -> bool:
    """Return whether a gate's report says `pass` about a bundle, and each of its rules does."""
    verdicts = {rule.get("verdict") for rule in report.get("rules") or ()}
    return verdicts == {"pass"} == {report.get("verdict")} and bool(report.get("bundle"))


def restoration(previous: Entry, *, follows: str, by: str) -> Entry:
    """Return the entry that makes a former champion champion again, by the report that made it so."""
    again = previous.to_dict() | {"action": "rollback", "follows": follows, "by": by, "at": moment()}
    return Entry.from_dict(again)


def promoted_by(log: Log, run: str) -> bool:
    """Return whether an entry that a run wrote counts, in whatever try of it."""
    return any(entry.run == run and entry.action == "promote" for entry in log.accepted(CHAMPION))


def _check_fresh(candidate: Candidate) -> None:
    """Refuse a decision that its policy no longer lets anyone act on, or whose age cannot be told."""
    report, label, now = candidate.report, candidate.label, datetime.now(UTC)
    try:
        decided = datetime.fromisoformat(report["decided"])
        until = datetime.fromisoformat(report["fresh_until"]) if report["policy"]["freshness"] is not None else now
        early, late = decided > now + CLOCKS_APART, until < now
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the report on {label} does not say how long it holds: gate it again") from error
    if early:
        raise HeldBackError(f"the gate decided on {label} in the future, {report['decided']}: set the clocks right")
    if late:
        raise HeldBackError(
            f"stale: what the gate saw of {label} was fresh until {report['fresh_until']}: run the pipeline again"
        )


def moment() -> str:
    """Return the time as entries and signatures write it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
