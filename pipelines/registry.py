"""What people do with the registry: list, promote, roll back."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from steps.registry import CHAMPION, PREVIOUS, by_alias, connect, describe, move_champion


def list_versions(name: str) -> list[dict[str, Any]]:
    """Return the versions of a registered model, newest first."""
    client = connect()
    found = [client.get_model_version(name, each.version) for each in client.search_model_versions(f"name = '{name}'")]
    return sorted((describe(version) for version in found), key=lambda row: -int(row["version"]))


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
    client = connect()
    found = next((row for row in list_versions(name) if row["version"] == version), None)
    if found is None:
        raise ValueError(f"{name} has no version {version}: see `rewardlab models --name {name}`")
    if found["tags"].get("verdict") != "pass":
        raise ValueError(
            f"{name}/{version} did not pass the gate (verdict {found['tags'].get('verdict', 'missing')!r})"
        )
    current = by_alias(client, name, CHAMPION)
    move_champion(client, name, version, expected=str(current.version) if current else None)
    return f"{name}/{version} is champion; before: {current.version if current else 'none'}"


def roll_back(name: str) -> str:
    """Swap champion and previous champion.

    Raises:
        ValueError: there is no previous champion.
    """
    client = connect()
    current, previous = by_alias(client, name, CHAMPION), by_alias(client, name, PREVIOUS)
    if current is None or previous is None:
        raise ValueError(f"{name} has no previous champion to go back to")
    move_champion(client, name, str(previous.version), expected=str(current.version))
    return f"{name}/{previous.version} is champion again; version {current.version} is now `{PREVIOUS}`"
