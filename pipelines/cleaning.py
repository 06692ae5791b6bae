"""Remove what old runs left on this machine."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from rewardlab.home import home


def clean(*, keep: int, dry_run: bool) -> Iterator[str]:
    """Remove the artifacts of all but the newest runs, cache entries that point nowhere, and old run folders.

    Registered versions, their bundles and reports live in the registry and stay; a step whose output went is run
    again when it is needed. Yields a line for each thing.

    Raises:
        ValueError: `keep` is negative.
    """
    if keep < 0:
        raise ValueError(f"keep is at least 0, got {keep}")
    old = [*_old(home() / "steps", keep), *_old(Path("runs"), keep)]
    for folder in old:
        yield f"{'would remove' if dry_run else 'removed'} {folder}"
        if not dry_run:
            shutil.rmtree(folder)
    if not dry_run:
        _forget()


def _old(parent: Path, keep: int) -> list[Path]:
    """Return all but the newest folders."""
    folders = [path for path in parent.glob("*") if path.is_dir() and not path.is_symlink()]
    return sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[keep:]


def _forget() -> None:
    """Drop cache entries whose artifacts are gone."""
    for entry in (home() / "cache").glob("*.json"):
        outputs = json.loads(entry.read_text(encoding="utf-8")).values()
        addresses = [value["uri"] for value in outputs if isinstance(value, dict) and "uri" in value]
        if not all(Path(address).exists() for address in addresses):
            entry.unlink()
