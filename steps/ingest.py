"""Read preference data of any known format into groups."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from rewardlab.config import Config
from rewardlab.files import atomic_path, group_line, pack, parse_group, tree_digest, write_json
from rewardlab.groups import PreferenceGroup
from rewardlab.layout import GROUPS, INGEST_REPORT, UNREADABLE
from rewardlab.readers import BadRow, read
from steps.common.data_files import data_files, open_rows
from steps.common.parallel import in_order

_SHOWN = 3
_BATCH_CHARACTERS = 2**21


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig(Config):
    """How to read: `parse` names a format of `rewardlab.readers`; without one, each file's is recognised.

    `columns` says under which name the data have a field, such as `{"prompt": "query", "family": "topic"}`.
    """

    parse: str | None = None
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestReport(Config):
    """How many rows became groups, how many of those are given test data, and how many could not be read.

    `formats` has each format that was recognised and the least sureness with which it was (`readers.Recognised`).
    """

    num_groups: int
    num_test: int
    num_unreadable: int
    unreadable: dict[str, int]
    formats: dict[str, float]
    digest: str


@dataclass(slots=True)
class _Tally:
    """What is counted while groups go by."""

    bad: TextIO
    ids: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)
    formats: dict[str, float] = field(default_factory=dict)
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
        with (scratch / UNREADABLE).open("w", encoding="utf-8") as bad:
            tally = _Tally(bad)
            with pack(scratch / GROUPS) as packed:
                for line in _lines(config, source, tally):
                    packed.write(line)
        num_groups = len(tally.ids)
        if not num_groups:
            raise ValueError(f"no row of {source} can be read:" + "".join(f"\n  {reason}" for reason in tally.first))
        counts = {
            "num_groups": num_groups,
            "num_test": tally.num_test,
            "num_unreadable": tally.reasons.total(),
            "unreadable": dict(tally.reasons.most_common(20)),
            "formats": tally.formats,
        }
        write_json(scratch / INGEST_REPORT, counts)
    return IngestReport.from_dict({**counts, "digest": tree_digest(target)})


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some rows of a file, and what makes groups of them.

    `split` is what the groups are marked with; `format` is the recognised format and how surely it was recognised.
    """

    file: str
    split: str
    format: tuple[str, float] | None
    convert: Callable[[Any], PreferenceGroup | BadRow]
    rows: list[Any]

    def __len__(self) -> int:
        return len(self.rows)


def _lines(config: IngestConfig, source: Path, tally: _Tally) -> Iterator[bytes]:
    """Yield each group's line; what is not to be read is noted."""
    for piece, items in in_order(_written, _pieces(config, source), label="ingest"):
        if piece.format:
            name, sureness = piece.format
            tally.formats[name] = min(sureness, tally.formats.get(name, 1.0))
        for item in items:
            if isinstance(item, BadRow):
                _note(tally, piece.file, item)
            else:
                tally.num_test += piece.split == "test"
                yield _unique(*item, tally.ids)


def _pieces(config: IngestConfig, source: Path) -> Iterator[_Piece]:
    for split, path in _files(source):
        try:
            reading = read(open_rows(path), config.parse, config.columns)
            recognised = reading.recognised
            format_ = (recognised.reader.name, recognised.sureness) if recognised else None
            rows, convert = (iter(reading), _as_it_is) if reading.joins else (reading.rows, reading.convert)
            for batch in _batches(rows):
                yield _Piece(path.name, split, format_, convert, batch)
        except ValueError as error:
            named = str(error).removeprefix(f"{path} ")
            raise ValueError(f"{path.name}: {error}" if named == str(error) else f"{path.name} {named}") from error


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    """Yield the given test data first, so that neither their ids nor their number depend on the other data."""
    fetched = (source / "data").is_dir()
    if fetched and (source / "test").is_dir():
        yield from (("test", path) for path in data_files(source / "test"))
    yield from (("", path) for path in data_files(source / "data" if fetched else source))


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield as many rows at a time as fill about 2 MB."""
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += len(str(row))
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _written(piece: _Piece) -> list[tuple[str, bytes] | BadRow]:
    """Return the id and the line of each row's group; a column `split` of the data's own says nothing here."""
    items = map(piece.convert, piece.rows)
    return [item if isinstance(item, BadRow) else (item.id, group_line(_marked(item, piece.split))) for item in items]


def _marked(group: PreferenceGroup, split: str) -> PreferenceGroup:
    if split:
        return replace(group, meta={**group.meta, "split": split})
    return replace(group, meta={key: value for key, value in group.meta.items() if key != "split"})


def _as_it_is(item: PreferenceGroup | BadRow) -> PreferenceGroup | BadRow:
    return item


def _note(tally: _Tally, file: str, item: BadRow) -> None:
    record = {"file": file, "line": item.line, "reason": item.reason, "row": item.row}
    tally.bad.write(json.dumps(record, default=str) + "\n")
    tally.reasons[item.reason.split(", got ")[0]] += 1
    if len(tally.first) < _SHOWN:
        tally.first.append(f"{file} line {item.line}: {item.reason}")


def _unique(name: str, line: bytes, ids: set[str]) -> bytes:
    """Return the line with an id that no earlier one has: the second "a" becomes "a-2"."""
    free = name
    if name in ids:
        free = next(other for number in count(2) if (other := f"{name}-{number}") not in ids)
    ids.add(free)
    return line if free == name else group_line(replace(parse_group(line), id=free))
