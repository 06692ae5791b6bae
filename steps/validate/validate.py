"""Quarantine bad groups with their reasons, and refuse data that are bad as a whole."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import Config
from rewardlab.files import atomic_path, read_groups, tree_digest, write_groups, write_json
from rewardlab.groups import PreferenceGroup
from steps.validate.check import Checker, Verdict
from steps.validate.suite import row_expectations, table_expectations
from steps.validate.table import flatten

if TYPE_CHECKING:
    import pandas as pd

Reasons = dict[int, list[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateConfig(Config):
    """What is acceptable: shares are of all rows, those that could not be read included."""

    max_quarantine_share: float = 0.05
    min_groups: int = 1
    max_responses: int = 64

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_quarantine_share <= 1.0:
            raise ValueError(f"max_quarantine_share is in [0, 1], got {self.max_quarantine_share}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateReport(Config):
    """How many groups there were and how many may be used; `digest` leaves the Data Docs out, which hold times."""

    num_groups: int
    num_accepted: int
    num_unreadable: int
    quarantined: dict[str, int]
    digest: str


def validate(config: ValidateConfig, source: Path, target: Path) -> ValidateReport:
    """Write the folder `target`: `groups.jsonl.gz`, `quarantine.jsonl`, `validation.json` and `docs/`.

    `source` is what `ingest` wrote. Nothing is written when the data fail.

    Raises:
        ValueError: all groups are bad or a critical expectation does not hold; the message has the reasons.
    """
    groups = list(read_groups(source / "groups.jsonl.gz"))
    unreadable = _read_lines(source / "unreadable.jsonl")
    table = flatten(groups)
    table["id_characters"] = table["id"].str.len()
    checker = Checker()
    verdicts = checker.check("rows", table, row_expectations(config.max_responses))
    reasons = _reasons(verdicts)
    counts = dict(Counter(reason for each in reasons.values() for reason in each).most_common())
    if len(reasons) == len(groups):
        raise ValueError(f"all {len(groups)} groups are quarantined: {_listed(counts)}")
    whole = table_expectations(
        min_groups=config.min_groups, max_quarantine_share=config.max_quarantine_share, num_groups=len(groups)
    )
    verdicts += checker.check("data", _accepted(table, reasons, len(unreadable)), whole)
    _refuse(verdicts, counts, len(unreadable), groups, reasons)
    summary = {
        "num_groups": len(groups),
        "num_accepted": len(groups) - len(reasons),
        "num_unreadable": len(unreadable),
        "quarantined": counts,
    }
    with atomic_path(target) as scratch:
        scratch.mkdir()
        write_groups(scratch / "groups.jsonl.gz", (group for at, group in enumerate(groups) if at not in reasons))
        _write_quarantine(scratch / "quarantine.jsonl", unreadable, groups, reasons)
        write_json(scratch / "validation.json", {**summary, "expectations": [_entry(verdict) for verdict in verdicts]})
        digest = tree_digest(scratch)
        checker.write_docs(scratch / "docs")
    return ValidateReport.from_dict({**summary, "digest": digest})


def _reasons(verdicts: Sequence[Verdict]) -> Reasons:
    """Return why each bad row is quarantined."""
    reasons: Reasons = {}
    for verdict in verdicts:
        for row in verdict.rows:
            reasons.setdefault(row, []).append(verdict.name)
    return reasons


def _accepted(table: "pd.DataFrame", reasons: Reasons, num_unreadable: int) -> "pd.DataFrame":
    """Return the table with only counts left of bad rows, one row more for each that could not be read."""
    whole = table.reindex(range(len(table) + num_unreadable)).astype(object)
    bad = whole.index.isin([*reasons, *range(len(table), len(whole))])
    whole[bad] = None
    numeric = ["tie_share", "longer_wins", "contradicts", "num_responses"]
    whole[numeric] = whole[numeric].astype(float)
    whole["row"] = range(len(whole))
    return whole.assign(quarantined=bad.astype(float), accepted=(~bad).astype(int))


def _refuse(
    verdicts: Sequence[Verdict],
    counts: dict[str, int],
    num_unreadable: int,
    groups: Sequence[PreferenceGroup],
    reasons: Reasons,
) -> None:
    broken = [verdict for verdict in verdicts if verdict.critical and not verdict.success]
    if not broken:
        return
    lines = [f"{verdict.name} does not hold: {verdict.column} is {verdict.observed}" for verdict in broken]
    lines.append(f"quarantined: {_listed(counts)}; could not be read: {num_unreadable}")
    lines += [f"for example {groups[row].id}: {', '.join(reasons[row])}" for row in sorted(reasons)[:3]]
    raise ValueError("the data are refused:" + "".join(f"\n  {line}" for line in lines))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"


def _entry(verdict: Verdict) -> dict[str, Any]:
    return {name: value for name, value in asdict(verdict).items() if name != "rows"}


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _write_quarantine(
    path: Path, unreadable: Sequence[dict[str, Any]], groups: Sequence[PreferenceGroup], reasons: Reasons
) -> None:
    records = [{"line": row["line"], "reasons": [row["reason"]], "row": row["row"]} for row in unreadable]
    records += [{"id": groups[at].id, "reasons": reasons[at], "group": groups[at].to_dict()} for at in sorted(reasons)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
