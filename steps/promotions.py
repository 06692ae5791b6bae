"""What must hold before the promotion log takes an entry: a passing report that the registry keeps, and signatures."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rewardlab.promotion import Entry, Log, report_digest
from rewardlab.promotion.log import CHAMPION
from steps.registry import GATE_REPORT, stored_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

APPROVED = "approved."
"""Begins the tag of a version that keeps one person's signature: the time, and the digest of the report they signed."""

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
    return Entry(
        alias=CHAMPION,
        action="promote",
        version=candidate.version,
        bundle=report["bundle"],
        test_digest=report["test_digest"],
        report=digest,
        run=candidate.run,
        follows=follows,
        signed=_signed(candidate, tags),
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


def signatures(tags: Mapping[str, str], digest: str) -> tuple[str, ...]:
    """Return who signed a report, each with the time, by the tags of its version."""
    found = {key.removeprefix(APPROVED): value.split() for key, value in tags.items() if key.startswith(APPROVED)}
    return tuple(f"{person} {said[0]}" for person, said in sorted(found.items()) if person and said[1:] == [digest])


def _signed(candidate: Candidate, tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the signatures under a report, if they are enough."""
    report, version = candidate.report, f"{candidate.version} --name {candidate.name}"
    if "sign_off" not in report["policy"]:
        raise ValueError(f"the report on {candidate.label} does not say whether people must sign: gate it again")
    signed, asked = signatures(tags, report_digest(report)), report["policy"]["sign_off"]
    if asked is not None and len(signed) < asked["people"]:
        raise HeldBackError(
            f"not signed off: {len(signed)} of {asked['people']} people have signed; who has read the report runs "
            f"`rewardlab approve {version}`, then `rewardlab promote {version}`"
        )
    return signed


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
