"""What people do with the registry: list, promote, roll back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rewardlab.home import tracking_uri
from steps.registry import CHAMPION, PREVIOUS, by_alias, connect, describe, move_champion

if TYPE_CHECKING:
    from mlflow import MlflowClient


def list_versions(name: str) -> list[dict[str, Any]]:
    """Return the versions of a registered model, newest first.

    Raises:
        ValueError: the registry cannot be reached, or refuses the name.
    """
    with _registry() as client:
        found = client.search_model_versions(f"name = '{name}'")
        versions = [describe(client.get_model_version(name, each.version)) for each in found]
    return sorted(versions, key=lambda row: -int(row["version"]))


def versions_table(versions: Sequence[dict[str, Any]]) -> str:
    """Return versions as lines for a terminal."""
    lines = [f"{'version':<8} {'aliases':<20} {'verdict':<10} {'recipe':<10} {'created (UTC)':<17} bundle"]
    for row in versions:
        tags, made = row["tags"], datetime.fromtimestamp(row["created"] / 1000, UTC)
        lines.append(
            f"{row['version']:<8} {', '.join(row['aliases']):<20} {tags.get('verdict', '?'):<10} "
            f"{tags.get('recipe', '?'):<10} {made:%Y-%m-%d %H:%M}  {tags.get('bundle', '?')[:12]}"
        )
    return "\n".join(lines)


def promote_version(name: str, version: str) -> str:
    """Make a version champion by hand; only one that passed the gate.

    Raises:
        ValueError: the version does not exist, or did not pass.
    """
    found = next((row for row in list_versions(name) if row["version"] == version), None)
    if found is None:
        raise ValueError(f"{name} has no version {version}: see `rewardlab models --name {name}`")
    if found["tags"].get("decision") == "rejected":
        raise ValueError(f"{name}/{version} lost a race to another champion: run the pipeline again to gate it anew")
    if found["tags"].get("verdict") != "pass":
        raise ValueError(
            f"{name}/{version} did not pass the gate (verdict {found['tags'].get('verdict', 'missing')!r}): only a "
            "version with verdict 'pass' becomes champion"
        )
    with _registry() as client:
        current = by_alias(client, name, CHAMPION)
        move_champion(client, name, version, expected=str(current.version) if current else None)
    return f"{name}/{version} is champion; before: {current.version if current else 'none'}"


def roll_back(name: str) -> str:
    """Swap champion and previous champion.

    Raises:
        ValueError: there is no previous champion.
    """
    with _registry() as client:
        current, previous = by_alias(client, name, CHAMPION), by_alias(client, name, PREVIOUS)
        if current is None or previous is None:
            raise ValueError(f"{name} has no previous champion to go back to: see `rewardlab models --name {name}`")
        move_champion(client, name, str(previous.version), expected=str(current.version))
    return f"{name}/{previous.version} is champion again; version {current.version} is now `{PREVIOUS}`"


@contextmanager
def _registry() -> Iterator["MlflowClient"]:
    """Give a client, and turn what the registry refuses into a ValueError."""
    client = connect()
    from mlflow.exceptions import MlflowException

    try:
        yield client
    except MlflowException as error:
        raise ValueError(f"the registry {tracking_uri()} refuses: {error.message.splitlines()[0]}") from error
