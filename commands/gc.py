"""Remove what old runs left on this machine."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from rewardlab.files import read_json
from rewardlab.home import home
from rewardlab.layout import RECIPE
from steps.common.run_record import RunRecord
from steps.train.state import idle


def clean(*, keep: int, dry_run: bool) -> Iterator[str]:
    """Remove what all but the newest runs left: artifacts, cache entries that point nowhere, run folders, and scores.

    An older run's artifacts stay where a newer run that is kept has reused them. Of interrupted trainings the
    checkpoints of the newest stay too, and of one under way whatever its age. Registered versions, their bundles and
    reports and the promotion log live in the registry and stay; a step whose output went is run again when it is
    needed, and a test set is scored again. Yields a line for each thing.

    Raises:
        ValueError: `keep` is negative.
    """
    if keep < 0:
        raise ValueError(f"keep is at least 0, got {keep}")
    runs = Path("runs")
    records = [folder for folder in _folders(runs) if (folder / RECIPE).is_file()]  # `runs` may hold others'
    needed = {folder for record in records[:keep] for folder in _used(record)}
    old = [folder for folder in _folders(home() / "steps")[keep:] if folder not in needed]
    trainings = [folder for folder in _folders(home() / "training")[keep:] if idle(folder)]
    scores = (home() / "scores").glob("*.npy")
    for path in (*old, *records[keep:], *trainings, *scores):
        yield f"{'would remove' if dry_run else 'removed'} {path}"
        if not dry_run and path.is_dir():
            shutil.rmtree(path)
        elif not dry_run:
            path.unlink()
    if not dry_run:
        _forget()
        if not (runs / "latest").exists():
            (runs / "latest").unlink(missing_ok=True)


def _used(record: Path) -> Iterator[Path]:
    """Yield the folders in `steps` that hold what a run made or reused."""
    steps = home() / "steps"
    outputs = (Path(place) for step in RunRecord.read(record).steps for place in step.outputs.values())
    for path in outputs:
        if path.is_relative_to(steps) and path != steps:
            yield steps / path.relative_to(steps).parts[0]


def _folders(parent: Path) -> list[Path]:
    """Return the folders in a folder, newest first."""
    folders = [path for path in parent.glob("*") if path.is_dir() and not path.is_symlink()]
    return sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)


def _forget() -> None:
    """Drop the entries of kfp's cache that name artifacts which are gone."""
    for entry in (home() / "cache").glob("*.json"):
        values = read_json(entry).values()
        paths = [Path(value["uri"]) for value in values if isinstance(value, dict) and "uri" in value]
        if not all(path.exists() for path in paths):
            entry.unlink()
