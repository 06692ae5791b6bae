"""Readers of preference data: rows of any known format become preference groups."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from rewardlab.groups import PreferenceGroup
from rewardlab.readers import hh, lists, native, pairs
from rewardlab.readers.reader import Reader, Row

READERS = (native.READER, hh.READER, lists.READER, pairs.READER)
_LOOK = 50

__all__ = ["READERS", "BadRow", "Reader", "Row", "read", "reader", "recognise"]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read: where it stood, why not, and what it was."""

    line: int
    reason: str
    row: Any


def reader(name: str) -> Reader:
    """Return the reader of a format.

    Raises:
        ValueError: there is none of that name.
    """
    for each in READERS:
        if each.name == name:
            return each
    raise ValueError(f"unknown format {name!r}: known are {', '.join(each.name for each in READERS)}")


def recognise(rows: Iterable[Any]) -> Reader:
    """Return the reader that fits most of the first rows; of equals, the one that knows most about the text.

    Raises:
        ValueError: none fits; the message has the keys that were seen and the formats that are known.
    """
    seen = list(islice((row for row in rows if isinstance(row, dict)), _LOOK))
    counts = [sum(each.fits(row) for row in seen) for each in READERS]
    if seen and max(counts) > 0:
        return READERS[counts.index(max(counts))]
    keys = sorted({str(key) for row in seen for key in row})
    known = "".join(f"\n  {each.name}: {each.form}" for each in READERS)
    raise ValueError(f"unknown format: rows have {', '.join(keys) if keys else 'no keys'}; known are{known}")


def read(rows: Iterable[tuple[int, Any]], format: str | None = None) -> Iterator[PreferenceGroup | BadRow]:  # noqa: A002
    """Yield a group or a bad row for each numbered row, in order; bad rows that come in go out.

    Without a format, it is recognised from the first rows.

    Raises:
        ValueError: the format is unknown.
    """
    rows = iter(rows)
    ahead = _first(rows) if format is None else []
    if format is None and not any(isinstance(row, dict) for _, row in ahead):
        yield from (_not_an_object(line, row) for line, row in ahead)
        return
    chosen = recognise(row for _, row in ahead) if format is None else reader(format)
    for line, row in chain(ahead, rows):
        yield _read_one(chosen, line, row)


def _first(rows: Iterator[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Take rows until enough objects are among them to recognise the format."""
    taken: list[tuple[int, Any]] = []
    objects = 0
    while objects < _LOOK and (item := next(rows, None)) is not None:
        taken.append(item)
        objects += isinstance(item[1], dict)
    return taken


def _not_an_object(line: int, row: Any) -> BadRow:
    return row if isinstance(row, BadRow) else BadRow(line, f"a row is a JSON object, got {type(row).__name__}", row)


def _read_one(chosen: Reader, line: int, row: Any) -> PreferenceGroup | BadRow:
    if not isinstance(row, dict):
        return _not_an_object(line, row)
    try:
        group = chosen.group(row)
        _check_text(group)
    except ValueError as error:
        return BadRow(line, str(error), row)
    return group


def _check_text(group: PreferenceGroup) -> None:
    """Refuse halves of surrogate pairs, which JSON can write and UTF-8 cannot."""
    texts = (group.id, *group.responses, *(turn.content for turn in group.prompt), *group.meta.values())
    for text in (*texts, *group.meta, *group.scores, group.subset, group.source, group.family):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"half of a surrogate pair at character {error.start} of {text!r:.60}") from error
