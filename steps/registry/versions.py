"""What people do with the registry: list, sign, promote, roll back, repair."""

import getpass
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rewardlab.home import tracking_uri
from rewardlab.layout import GATE_REPORT
from rewardlab.promotion import ClientReader, alias_versions, client_log, move, project, report_digest
from rewardlab.promotion.log import CHAMPION, PREVIOUS
from rewardlab.promotion.signing import APPROVED
from steps.registry.client import Registered, RegistryStore, connect, find_run, set_tags, stored_json
from steps.registry.promotable import Candidate, moment, passed, promotion, restoration

if TYPE_CHECKING:
    from mlflow import MlflowClient


def list_versions(name: str) -> list[Registered]:
    """Return the versions of a registered model, newest first; `champion` and `previous` by the promotion log.

    Raises:
        ValueError: the registry cannot be reached, or refuses the name, or the log was changed from outside.
    """
    with registry() as client:
        versions = client.search_model_versions(f"name = '{name}'")
        rows = [client.get_model_version(name, version.version) for version in versions]
        aliases = alias_versions(ClientReader(client), name) if rows else {}
    registered = [
        Registered(
            version=str(row.version),
            aliases=tuple(sorted(alias for alias, number in aliases.items() if number == str(row.version))),
            tags=dict(row.tags),
            created=int(row.creation_timestamp),
        )
        for row in rows
    ]
    return sorted(registered, key=lambda row: -int(row.version))


def versions_table(versions: Sequence[Registered]) -> str:
    """Return versions as lines for a terminal."""
    lines = [f"{'version':<8} {'aliases':<20} {'verdict':<10} {'recipe':<10} {'created (UTC)':<17} bundle"]
    for row in versions:
        tags, made = row.tags, datetime.fromtimestamp(row.created / 1000, UTC)
        lines.append(
            f"{row.version:<8} {', '.join(row.aliases):<20} {tags.get('verdict', '?'):<10} "
            f"{tags.get('recipe', '?'):<10} {made:%Y-%m-%d %H:%M}  {tags.get('bundle', '?')[:12]}"
        )
    return "\n".join(lines)


def approve_version(name: str, version: str, *, person: str) -> str:
    """Sign the gate's report on a version; `Ada` and `ada` are one person.

    Raises:
        ValueError: the version does not exist or did not pass, or the name of the person is not one word.
    """
    person = (person or _me()).casefold()
    if not person or any(sign.isspace() for sign in person):
        raise ValueError(f"who signs is one word, such as a user name or an address, got {person!r}")
    with registry() as client:
        candidate = _candidate(client, name, version)
        if not passed(candidate.report):
            raise ValueError(f"{name}/{version} did not pass the gate: there is nothing to sign")
        signature = f"{moment()} {report_digest(candidate.report)}"
        set_tags(client, name, version, {f"{APPROVED}{person}": signature})
    return f"{person} has signed {name}/{version}"


def promote_version(name: str, version: str) -> str:
    """Make a version champion by hand; only one whose report passed it against who is champion now.

    Raises:
        ValueError: the version does not exist, did not pass, passed against another champion or too long ago, or lacks
            signatures.
    """
    with registry() as client:
        candidate = _candidate(client, name, version)
        head = client_log(client, name).head(CHAMPION)
        if head and head.version == version:
            project(RegistryStore(client), name)
            return f"{name}/{version} is champion already"
        entry = promotion(client, candidate, follows=head.digest if head else "", by=_me())
        before, compared = f"{name}/{head.version}" if head else "", candidate.report.get("champion")
        if compared != before:
            raise ValueError(
                f"stale: {name}/{version} was gated against {compared or 'no champion'}, and champion is "
                f"{before or 'none'}: run the pipeline again to gate it anew"
            )
        move(RegistryStore(client), name, entry)
        set_tags(client, name, version, {"decision": "promoted"})
    return f"{name}/{version} is champion; before: {head.version if head else 'none'}"


def roll_back(name: str) -> str:
    """Make the champion's predecessor champion again.

    Raises:
        ValueError: there is no predecessor, its version is gone, or somebody else was faster.
    """
    with registry() as client:
        log = client_log(client, name)
        current, previous = log.head(CHAMPION), log.before(CHAMPION)
        if current is None or previous is None:
            raise ValueError(f"{name} has no previous champion to go back to: see `rewardlab models --name {name}`")
        client.get_model_version(name, previous.version)
        move(RegistryStore(client), name, restoration(previous, follows=current.digest, by=_me()))
    return f"{name}/{previous.version} is champion again; version {current.version} is now `{PREVIOUS}`"


def repair(name: str) -> str:
    """Let the aliases name what the promotion log says."""
    with registry() as client:
        changed = project(RegistryStore(client), name)
    return "; ".join(f"{alias} is version {version}" for alias, version in changed.items()) or "nothing to repair"


def _candidate(client: "MlflowClient", name: str, version: str) -> Candidate:
    """Return a version with the gate's newest report on it."""
    found = next(
        (each for each in client.search_model_versions(f"name = '{name}'") if str(each.version) == version), None
    )
    if found is None:
        raise ValueError(f"{name} has no version {version}: see `rewardlab models --name {name}`")
    run = find_run(client, str(found.tags.get("run_id")))
    report = stored_json(client, run, GATE_REPORT) if run else None
    if report is None:
        raise ValueError(f"the registry keeps no report of the gate on {name}/{version}: run the pipeline again")
    return Candidate(name=name, version=version, run=run, report=report)


def _me() -> str:
    """Return the name of who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid-{os.getuid()}"


@contextmanager
def registry() -> Iterator["MlflowClient"]:
    """Give a client, and turn what the registry refuses into a ValueError."""
    client = connect()
    from mlflow.exceptions import MlflowException

    try:
        yield client
    except MlflowException as error:
        raise ValueError(f"the registry {tracking_uri()} refuses: {error.message.splitlines()[0]}") from error
