"""Readers of preference data: rows of any known format become preference groups."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any

from rewardlab.groups import PreferenceGroup
from rewardlab.readers import (
    best_of,
    crows,
    hh,
    instructions,
    label_studio,
    lists,
    native,
    pairs,
    ranked,
    rated,
    sharegpt,
    sides,
    ultrafeedback,
)
from rewardlab.readers.reader import BadRow, Reader, Row, number
from rewardlab.text import utf8

READERS = (
    native.READER,
    hh.READER,
    lists.READER,
    best_of.READER,
    ranked.READER,
    ultrafeedback.READER,
    label_studio.READER,
    crows.READER,
    rated.HELPSTEER,
    rated.XSTEST,
    sides.READER,
    rated.KTO,
    sharegpt.READER,
    instructions.READER,
    pairs.READER,
)
"""Every format, the one that asks most of a row before those that ask less."""
_LOOK = 50
_SHOWN = 40

__all__ = ["READERS", "BadRow", "Reader", "Reading", "Recognised", "Row", "read", "reader", "recognise"]


@dataclass(frozen=True, slots=True)
class Recognised:
    """Which format the first rows have, and how sure that is, in [0, 1].

    Each of the first 50 rows counts for the first format it fits. `sureness` is the share of the rows that count for
    this format, less the largest share that counts for another one, `rival`; rows that fit none count against it.
    """

    reader: Reader
    sureness: float
    num_rows: int
    rival: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Numbered rows, what makes a group or a bad row of each, and the format if it was recognised.

    `convert` can be sent to another process. `joins`: neighbouring groups of one prompt make one group.
    """

    recognised: Recognised | None
    rows: Iterator[tuple[int, Any]]
    convert: Callable[[tuple[int, Any]], PreferenceGroup | BadRow]
    joins: bool

    def __iter__(self) -> Iterator[PreferenceGroup | BadRow]:
        """Return what is read, once and in the order of the rows."""
        items = map(self.convert, self.rows)
        return rated.joined(items) if self.joins else items


def reader(name: str) -> Reader:
    """Return the reader of a format.

    Raises:
        ValueError: there is none of that name.
    """
    for each in READERS:
        if each.name == name:
            return each
    raise ValueError(f"unknown format {name!r}: known are {', '.join(each.name for each in READERS)}")


def recognise(rows: Iterable[Any]) -> Recognised:
    """Return the format that fits most of the first rows; of equals, the one that knows most about the text.

    Raises:
        ValueError: none fits; the message has the keys that were seen and the formats that are known.
    """
    seen = list(islice((row for row in rows if isinstance(row, dict)), _LOOK))
    fitting = [[each.name for each in READERS if each.fits(row)] for row in seen]
    counts = Counter(name for names in fitting for name in names)
    if not counts:
        keys = _listed(sorted(str(key) for row in seen for key in row))
        known = "".join(f"\n  {each.name}: {each.form}" for each in READERS)
        hint = "columns of other names are renamed with --map, or `columns` in Python"
        raise ValueError(f"unknown format: rows have {keys}; known are{known}\n{hint}")
    found = max(READERS, key=lambda each: counts[each.name])
    firsts = Counter(names[0] for names in fitting if names)
    mine = firsts.pop(found.name, 0)
    ((rival, theirs),) = firsts.most_common(1) or [("", 0)]
    return Recognised(found, max(0.0, (mine - theirs) / len(seen)), len(seen), rival)


def _listed(keys: Iterable[str]) -> str:
    """Return the first names, each once, and how many more there are."""
    names = list(dict.fromkeys(keys))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}" if names else "no keys"


def read(
    rows: Iterable[tuple[int, Any]],
    format: str | None = None,  # noqa: A002
    columns: Mapping[str, str] | None = None,
) -> Reading:
    """Return a group or a bad row for each numbered row, in order; bad rows that come in go out.

    Args:
        rows: line numbers and rows.
        format: the name of a reader; by default it is recognised from the first rows.
        columns: from a field's name to the column that is it, such as `{"prompt": "query", "family": "topic"}`. What
            `family` and `weight` name is also read as what else it is.

    Raises:
        ValueError: the format is unknown, or a column that is named is in none of the first rows.
    """
    rows, columns = iter(rows), columns or {}
    ahead = _first(rows)
    seen = [row for _, row in ahead if isinstance(row, dict)]
    if not seen:
        return Reading(None, iter(ahead), _not_an_object, joins=False)
    _check_columns(columns, seen)
    found = recognise(_renamed(row, columns) for row in seen) if format is None else None
    chosen = reader(format) if format is not None else found.reader if found else pairs.READER
    return Reading(found, chain(ahead, rows), partial(_read_one, chosen, columns), chosen.joins)


def _first(rows: Iterator[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Take rows until enough objects are among them to recognise the format."""
    taken: list[tuple[int, Any]] = []
    objects = 0
    while objects < _LOOK and (item := next(rows, None)) is not None:
        taken.append(item)
        objects += isinstance(item[1], dict)
    return taken


def _check_columns(columns: Mapping[str, str], seen: Sequence[Row]) -> None:
    there = [str(name) for row in seen for name in row]
    if missing := sorted(set(columns.values()) - set(there)):
        raise ValueError(f"no row has the column {', '.join(map(repr, missing))}; there are {_listed(there)}")


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """Return the row under the names that readers know; `family` and `weight` are no reader's."""
    fields = {field: column for field, column in columns.items() if field not in ("family", "weight")}
    rest = {name: value for name, value in row.items() if name not in fields.values()}
    return rest | {field: row[column] for field, column in fields.items() if column in row}


def _not_an_object(numbered: tuple[int, Any]) -> BadRow:
    line, row = numbered
    return row if isinstance(row, BadRow) else BadRow(line, f"a row is a JSON object, got {type(row).__name__}", row)


def _read_one(chosen: Reader, columns: Mapping[str, str], numbered: tuple[int, Any]) -> PreferenceGroup | BadRow:
    line, row = numbered
    if not isinstance(row, dict):
        return _not_an_object(numbered)
    try:
        group = chosen.group(_renamed(row, columns) if columns else row)
        if "family" in columns:
            family = row.get(columns["family"])
            group = replace(group, family="" if family is None else str(family))
        if "weight" in columns and (weight := number(row, columns["weight"])) is not None:
            group = replace(group, weight=weight)
        _check_text(group)
    except ValueError as error:
        return BadRow(line, str(error), row)
    return group


def _check_text(group: PreferenceGroup) -> None:
    """Refuse halves of surrogate pairs, which JSON can write and UTF-8 cannot."""
    texts = (group.id, *group.responses, *(turn.content for turn in group.prompt), *group.meta.values())
    for text in (*texts, *group.meta, *group.scores, group.subset, group.source, group.family):
        utf8(f"{text!r:.60}", text)
