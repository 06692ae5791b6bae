"""Quarantine bad groups with their reasons, and refuse data that are bad as a whole."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.config import Config, Report
from rewardlab.files import atomic_path, pack, read_chunks, read_groups, tree_digest, write_json
from rewardlab.layout import FLAGGED, GROUPS, QUARANTINE, SUSPECTED, UNREADABLE, VALIDATION_REPORT
from rewardlab.reports import Overlap, ValidationReport
from steps.common.data_location import is_remote, version
from steps.common.parallel import in_order
from steps.validate.check import Checker, Verdict
from steps.validate.contamination import contaminated
from steps.validate.sample import Sample, look
from steps.validate.suite import row_expectations, sample_expectations, table_expectations
from steps.validate.table import flatten, join

if TYPE_CHECKING:
    import pandas as pd

Reasons = dict[int, list[str]]
_FLAGS = ["contradicts", "personal", "cycles", "turncoats"]
_WHOLE = ["id", "prompt_key", "num_responses", "tie_share", "longer_wins", *_FLAGS, "agreement"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateConfig(Config):
    """What is acceptable: shares are of all rows, those that could not be read included.

    Rows that hold a text of `benchmarks`, or one whose Jaccard similarity to it is at least `max_similarity`, are
    quarantined: each is a file, a folder, s3:// or a hub id, with its md5, which a run fills in where it is empty.
    `num_sampled` groups, drawn with `seed`, are looked at for flipped labels, languages and offensive words;
    `languages` are the codes, such as `en`, of those that are expected.
    """

    max_quarantine_share: float = 0.05
    min_groups: int = 1
    max_responses: int = 64
    benchmarks: dict[str, str] = field(default_factory=dict)
    max_similarity: float = 0.8
    num_sampled: int = 0
    languages: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_quarantine_share <= 1.0:
            raise ValueError(f"max_quarantine_share is in [0, 1], got {self.max_quarantine_share}")
        if not 0.0 < self.max_similarity <= 1.0:
            raise ValueError(f"max_similarity is in (0, 1], got {self.max_similarity}")
        if self.num_sampled < 0:
            raise ValueError(f"num_sampled is not negative, got {self.num_sampled}")
        if self.languages and not self.num_sampled:
            raise ValueError("languages are told in a sample: set num_sampled too")


def pinned(config: ValidateConfig) -> ValidateConfig:
    """Return the configuration with each benchmark's absolute place and the version of what lies there.

    Raises:
        ValueError: a benchmark is not there.
    """
    places = {
        place if is_remote(place) else str(Path(place).absolute()): md5 for place, md5 in config.benchmarks.items()
    }
    return replace(config, benchmarks={place: md5 or version(place) for place, md5 in places.items()})


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateReport(Report):
    """How many groups there were and how many may be used; `digest` leaves the Data Docs out, which hold times."""

    num_groups: int
    num_accepted: int
    num_unreadable: int
    quarantined: dict[str, int]
    digest: str


def validate(config: ValidateConfig, source: Path, target: Path) -> ValidateReport:
    """Write the folder `target`.

    It has `groups.jsonl.gz`; `quarantine.jsonl`; `flagged.jsonl`, which accepted groups the checks of the whole are
    about; `suspected.jsonl`, which labels of the sample look flipped; `validation.json` and `docs/`.

    `source` is what `ingest` wrote. Nothing is written when the data fail. Memory is for numbers alone, not for text,
    but of a sample.

    Raises:
        ValueError: all groups are bad, a critical expectation does not hold (the message has the reasons), or a
            benchmark cannot be read.
    """
    # 1) A table of numbers, one row a group. Copies and contradictions are looked for in all of it.
    groups = source / GROUPS
    table = join(flat for _, flat in in_order(flatten, read_chunks(groups), label="validate"))
    num_unreadable = sum(1 for _ in _unreadable(source))
    checker = Checker()
    benchmarks: dict[str, Overlap] = {}
    if config.benchmarks:
        overlap = contaminated(groups, config.benchmarks, threshold=config.max_similarity)
        table, benchmarks = table.assign(in_benchmark=overlap.rows), overlap.benchmarks

    # 2) Which rows are quarantined.
    verdicts = checker.check("rows", table, row_expectations(config.max_responses, benchmarks=bool(benchmarks)))
    reasons = _reasons(verdicts)
    counts = dict(Counter(reason for names in reasons.values() for reason in names).most_common())
    if len(reasons) == len(table):
        raise ValueError(f"all {len(table)} groups are quarantined: {_listed(counts)}")

    # 3) Whether the data are accepted as a whole, and what a sample of them looks like.
    whole = table_expectations(
        min_groups=config.min_groups, max_quarantine_share=config.max_quarantine_share, num_groups=len(table)
    )
    verdicts += checker.check("data", _accepted(table, reasons, num_unreadable), whole)
    _refuse(verdicts, counts, num_unreadable, groups, reasons)
    sample: Sample | None = None
    if config.num_sampled:
        accepted = [at for at in range(len(table)) if at not in reasons]
        sample = look(groups, accepted, num=config.num_sampled, seed=config.seed, expected=config.languages)
        verdicts += checker.check("sample", sample.table, sample_expectations())

    # 4) The rows, the report and the Data Docs.
    report = ValidationReport(
        num_groups=len(table),
        num_accepted=len(table) - len(reasons),
        num_unreadable=num_unreadable,
        quarantined=counts,
        benchmarks=benchmarks,
        sample=sample.report if sample else None,
        expectations=tuple(verdict.expectation for verdict in verdicts),
    )
    with atomic_path(target) as scratch:
        scratch.mkdir()
        _write_rows(scratch, source, reasons, table[_FLAGS])
        write_json(scratch / VALIDATION_REPORT, report.to_dict())
        suspects = "".join(json.dumps(suspect.to_dict()) + "\n" for suspect in (sample.suspects if sample else ()))
        (scratch / SUSPECTED).write_text(suspects, encoding="utf-8")
        digest = tree_digest(scratch)
        checker.write_docs(scratch / "docs")
    return ValidateReport.from_dict({**report.to_dict(), "digest": digest})


def _reasons(verdicts: Sequence[Verdict]) -> Reasons:
    """Return why each bad row is quarantined."""
    reasons: Reasons = {}
    for verdict in verdicts:
        for row in verdict.rows:
            reasons.setdefault(row, []).append(verdict.expectation.name)
    return reasons


def _accepted(table: "pd.DataFrame", reasons: Reasons, num_unreadable: int) -> "pd.DataFrame":
    """Return the table with only counts left of bad rows, one row more for each that could not be read."""
    num_rows = len(table) + num_unreadable
    whole = table[_WHOLE].astype(float).reindex(range(num_rows))
    for name in ("id", "prompt_key"):  # a float holds the number of a hash, not the hash
        numbers, _ = table[name].factorize()
        whole.loc[table.index, name] = numbers.astype(float)

    unreadable = range(len(table), num_rows)
    bad = whole.index.isin([*reasons, *unreadable])
    whole[bad] = float("nan")
    return whole.assign(quarantined=bad.astype(float), accepted=(~bad).astype(int))


def _refuse(
    verdicts: Sequence[Verdict], counts: dict[str, int], num_unreadable: int, groups: Path, reasons: Reasons
) -> None:
    expectations = (verdict.expectation for verdict in verdicts)
    broken = [expectation for expectation in expectations if expectation.critical and not expectation.success]
    if not broken:
        return
    lines = ["the data are refused:"]
    for expectation in broken:
        lines.append(f"{expectation.name} does not hold: {expectation.column} is {expectation.observed}")
    lines.append(f"quarantined: {_listed(counts)}; could not be read: {num_unreadable}")
    bad = ((group.id, reasons[at]) for at, group in enumerate(read_groups(groups)) if at in reasons)
    for name, why in islice(bad, 3):
        lines.append(f"for example {name}: {', '.join(why)}")
    raise ValueError("\n  ".join(lines))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"


def _unreadable(source: Path) -> Iterator[Mapping[str, object]]:
    path = source / UNREADABLE
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _write_rows(target: Path, source: Path, reasons: Reasons, flags: "pd.DataFrame") -> None:
    """Write the groups that are accepted, as they came, which are flagged, and the others with their reasons."""
    lines = chain.from_iterable(read_chunks(source / GROUPS))
    marked = {at: flags.columns[row > 0].tolist() for at, row in enumerate(flags.to_numpy()) if row.any()}
    with (
        pack(target / GROUPS) as accepted,
        (target / QUARANTINE).open("w", encoding="utf-8") as quarantine,
        (target / FLAGGED).open("w", encoding="utf-8") as flagged,
    ):
        for row in _unreadable(source):
            record = {"line": row["line"], "reasons": [row["reason"]], "row": row["row"]}
            quarantine.write(json.dumps(record) + "\n")
        for at, line in enumerate(lines):
            if at in reasons:
                group = json.loads(line)
                quarantine.write(json.dumps({"id": group["id"], "reasons": reasons[at], "group": group}) + "\n")
                continue
            accepted.write(line)
            if at in marked:
                flagged.write(json.dumps({"id": json.loads(line)["id"], "flags": marked[at]}) + "\n")
