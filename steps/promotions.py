"""What must hold before the promotion log takes an entry: a passing report that the registry keeps, and signatures."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rewardlab.promotion import Entry, Log, report_digest
from rewardlab.promotion.log import CHAMPION
from steps.registry import GATE_REPORT, stored_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

APPROVED = "approved."
"""Begins the tag of a version that keeps one person's signature: the time, and the digest of the report they signed."""


class NotSignedError(ValueError):
    """The policy asks people to sign, and too few have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A registered version and the gate's report on it, which lies with the MLflow run `run`."""

    name: str
    version: str
    run: str
    report: Mapping[str, Any]


def promotion(client: "MlflowClient", candidate: Candidate, *, follows: str, by: str) -> Entry:
    """Return the entry that makes a candidate champion.

    Args:
        client: of the registry.
        candidate: which version, and by which report.
        follows: the digest of the entry it follows, or nothing.
        by: who asks for it.

    Raises:
        ValueError: the report does not pass this bundle, or is not the one that the registry keeps.
        NotSignedError: too few people have signed the report.
    """
    report, label = candidate.report, f"{candidate.name}/{candidate.version}"
    tags = client.get_model_version(candidate.name, candidate.version).tags
    if report.get("verdict") != "pass" or not report.get("bundle") or report["bundle"] != tags.get("bundle"):
        raise ValueError(f"{label} did not pass the gate ({report.get('verdict')}: {report.get('reason')})")
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
        signed=_signed(report, tags, label),
        by=by,
        at=moment(),
    )


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
    return tuple(f"{person} {said[0]}" for person, said in sorted(found.items()) if said[1:] == [digest])


def _signed(report: Mapping[str, Any], tags: Mapping[str, str], label: str) -> tuple[str, ...]:
    """Return the signatures under a report, if they are enough for the alias `champion`."""
    policy = report.get("policy")
    if not isinstance(policy, Mapping) or "sign_off" not in policy:
        raise ValueError(f"the report on {label} does not say whether people must sign: gate it again")
    signed, asked = signatures(tags, report_digest(report)), policy["sign_off"]
    if asked and CHAMPION in asked["aliases"] and len(signed) < asked["people"]:
        name, _, version = label.rpartition("/")
        raise NotSignedError(
            f"not signed off: {len(signed)} of {asked['people']} people have signed; who has read the report runs "
            f"`rewardlab approve {version} --name {name}`, then `rewardlab promote {version} --name {name}`"
        )
    return signed


def moment() -> str:
    """Return the time as entries and signatures write it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
