"""Every version of a registered model side by side: `rewardlab leaderboard`."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from commands.evaluate import Beside, evaluate_reference, interval
from rewardlab.config import Report
from rewardlab.files import read_json
from rewardlab.layout import report_file
from rewardlab.metrics import Difference, Estimate
from rewardlab.reports import Evaluation
from steps.registry.client import connect
from steps.registry.versions import list_versions


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured(Report):
    """A version's accuracy, and the difference to the champion; a note says why they are null."""

    accuracy: Estimate | None = None
    difference: Difference | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing(Measured):
    """A version on the leaderboard."""

    version: str
    created: str
    aliases: tuple[str, ...]
    recipe: str | None
    verdict: str | None
    test_digest: str | None
    looks: int


def leaderboard(name: str, data: str, *, parse: str | None) -> list[Standing]:
    """Return a row for each version, the oldest first: what its gate saw, or measured anew on the same data.

    Without data a row holds the accuracy that the gate saw, and `looks`, how many different bundles were gated on its
    test set up to then. With data it holds also the difference to the champion.

    Raises:
        ValueError: there is no registry or no version, or the data cannot be read.
    """
    versions = sorted(list_versions(name), key=lambda row: int(row.version))
    if not versions:
        raise ValueError(f"{name} has no versions: make one with `rewardlab run --name {name}`")
    seen: dict[str, set[str]] = {}
    rows = []
    for version in versions:
        tags = version.tags
        looks = seen.setdefault(tags.get("test_digest", ""), set())
        looks.add(tags.get("bundle", ""))
        measured = _measured(name, version.version, data, parse) if data else _recorded(name, version.version)
        row = Standing.extending(
            measured,
            version=version.version,
            created=datetime.fromtimestamp(version.created / 1000, UTC).isoformat(timespec="seconds"),
            aliases=version.aliases,
            recipe=tags.get("recipe"),
            verdict=tags.get("verdict"),
            test_digest=tags.get("test_digest"),
            looks=len(looks),
        )
        rows.append(row)
    return rows


def leaderboard_table(rows: Sequence[Standing]) -> str:
    """Return the rows as lines for a terminal."""
    titles = ("version", "made (UTC)", "accuracy", "minus champion", "test set", "looks", "aliases")
    lines = [titles, *(_cells(row) for row in rows)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, (7, 16, 36, 38, 8, 5, 0), strict=True)).rstrip()
        for line in lines
    )


def _cells(row: Standing) -> tuple[str, ...]:
    measured = row.note if row.note and not row.accuracy else interval(row.accuracy)
    change = interval(row.difference, signed=True) if row.difference else ""
    made, test_set = row.created[:16].replace("T", " "), (row.test_digest or "")[:8]
    return row.version, made, measured, change, test_set, str(row.looks), ", ".join(row.aliases)


def _recorded(name: str, version: str) -> Measured:
    """Return what the report said that the version's gate read."""
    from mlflow.exceptions import MlflowException

    client = connect()
    run = str(client.get_model_version(name, version).run_id)
    with tempfile.TemporaryDirectory() as folder:
        try:
            kept = Path(client.download_artifacts(run, report_file("evaluation"), folder))
            return _measured_by(Evaluation.from_dict(read_json(kept)))
        except (MlflowException, OSError):
            return Measured(note="no report is kept")
        except ValueError as error:  # another version of rewardlab wrote it
            return Measured(note=f"the report that is kept cannot be read: {error}")


def _measured(name: str, version: str, data: str, parse: str | None) -> Measured:
    """Measure a version on data; one that was trained on some of them is shown without a figure."""
    try:
        found = evaluate_reference(version, data, parse=parse, beside=Beside(name=name, num_policy=0))
    except ValueError as error:
        return Measured(note=str(error))
    return _measured_by(found)


def _measured_by(evaluation: Evaluation) -> Measured:
    difference = evaluation.champion.difference if evaluation.champion else None
    return Measured(accuracy=evaluation.metrics.accuracy, difference=difference)
