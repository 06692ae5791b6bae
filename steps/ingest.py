"""Read preference data of any known format into groups."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TextIO

from rewardlab.config import Config
from rewardlab.files import atomic_path, tree_digest, write_groups, write_json
from rewardlab.groups import PreferenceGroup
from rewardlab.readers import BadRow, read
from steps.sources import data_files, open_rows

_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig(Config):
    """How to read: `parse` names a format of `rewardlab.readers`; without one, each file's is recognised."""

    parse: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestReport(Config):
    """How many rows became groups, how many of those are given test data, and how many could not be read."""

    num_groups: int
    num_test: int
    num_unreadable: int
    unreadable: dict[str, int]
    digest: str


@dataclass(slots=True)
class _Tally:
    """What is counted while groups stream by."""

    bad: TextIO
    ids: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)
    num_test: int = 0


def ingest(config: IngestConfig, source: Path, target: Path) -> IngestReport:
    """Write the folder `target`: `groups.jsonl.gz`, `unreadable.jsonl` and `ingest.json`.

    `source` is a file, a folder of files, or what `fetch` made: then rows of `test/` get meta `split` = `test`. An
    id that occurs again gets a number.

    Raises:
        ValueError: no row can be read, a file is damaged, or its format is unknown.
    """
    with atomic_path(target) as scratch:
        scratch.mkdir()
        with (scratch / "unreadable.jsonl").open("w", encoding="utf-8") as bad:
            tally = _Tally(bad)
            num_groups = write_groups(scratch / "groups.jsonl.gz", _groups(config, source, tally))
        if not num_groups:
            raise ValueError(f"no row of {source} can be read:" + "".join(f"\n  {reason}" for reason in tally.first))
        counts = {
            "num_groups": num_groups,
            "num_test": tally.num_test,
            "num_unreadable": tally.reasons.total(),
            "unreadable": dict(tally.reasons.most_common(20)),
        }
        write_json(scratch / "ingest.json", counts)
    return IngestReport.from_dict({**counts, "digest": tree_digest(target)})


def _groups(config: IngestConfig, source: Path, tally: _Tally) -> Iterator[PreferenceGroup]:
    """Yield the given test groups first, so that neither their ids nor their number depend on the other data."""
    fetched = (source / "data").is_dir()
    if fetched and (source / "test").is_dir():
        for path in data_files(source / "test"):
            for group in _read_file(config, path, tally):
                tally.num_test += 1
                yield replace(group, meta={**group.meta, "split": "test"})
    for path in data_files(source / "data" if fetched else source):
        for group in _read_file(config, path, tally):  # a column `split` of the data's own says nothing here
            yield replace(group, meta={key: value for key, value in group.meta.items() if key != "split"})


def _read_file(config: IngestConfig, path: Path, tally: _Tally) -> Iterator[PreferenceGroup]:
    try:
        for item in read(open_rows(path), config.parse):
            if isinstance(item, BadRow):
                _note(tally, path, item)
            else:
                yield _unique(item, tally.ids)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _note(tally: _Tally, path: Path, item: BadRow) -> None:
    record = {"file": path.name, "line": item.line, "reason": item.reason, "row": item.row}
    tally.bad.write(json.dumps(record) + "\n")
    tally.reasons[item.reason.split(", got ")[0]] += 1
    if len(tally.first) < _SHOWN:
        tally.first.append(f"{path.name} line {item.line}: {item.reason}")


def _unique(group: PreferenceGroup, ids: set[str]) -> PreferenceGroup:
    """Return the group with an id that no earlier one has: the second "a" becomes "a-2"."""
    name = group.id
    if name in ids:
        name = next(free for number in count(2) if (free := f"{group.id}-{number}") not in ids)
    ids.add(name)
    return group if name == group.id else replace(group, id=name)
