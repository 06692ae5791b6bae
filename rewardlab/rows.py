"""Rows of text files: JSON lines, JSON documents and tables, gzipped or not, with the number of each line."""

import csv
import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from rewardlab.files import open_text
from rewardlab.readers import BadRow

Rows = Iterator[tuple[int, Any]]
_POINTER = b"version https://git-lfs"
_TURNS = re.compile(r"""\s*\[?\s*\{\s*['"](role|content|from)['"]\s*:""")

_MESSAGE, _SHAREGPT = {"role", "content"}, {"from", "value"}


def open_rows(path: Path) -> Rows:
    """Yield `(line, row)` of one file; a line that is not JSON comes as a `BadRow`.

    Lines count from 1. Blank lines are no rows; empty cells of a table are left out, and cells that hold a list of
    messages as JSON are that list.

    Raises:
        ValueError: the file is of no known kind, empty, cut short, damaged or not UTF-8.

    Example:
        >>> next(open_rows(Path("pairs.jsonl")))
        (1, {'prompt': 'What is 2 + 2?', 'chosen': 'It is 4.', 'rejected': 'It is 5.'})
    """
    if suffix(path) not in _OPEN:
        raise ValueError(f"the name ends in none of {', '.join(_OPEN)} (each may end in .gz)")
    refuse_pointer(path)
    line = 0
    try:
        for line, row in _OPEN[suffix(path)](path):
            yield line, row
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 behind line {line} ({error.reason}): convert it with iconv") from error
    except EOFError as error:
        raise ValueError(f"{path} is cut short behind line {line}: fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged behind line {line} ({error}): fetch it again") from error
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV table behind line {line}: {error}") from error
    if line == 0:
        raise ValueError(f"{path} is empty")


def suffix(path: Path) -> str:
    """Return what kind of file a name says.

    Example:
        >>> suffix(Path("a.jsonl.gz"))
        '.jsonl'
    """
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def refuse_pointer(path: Path) -> None:
    """Refuse what a clone without Git LFS holds in a file's place.

    Raises:
        ValueError: with what to do.
    """
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ValueError(f"{path} is only a pointer of Git LFS: run `git lfs pull`")


def _json_lines(path: Path) -> Rows:
    with open_text(path) as lines:
        yield from _parse_lines(lines)


def _parse_lines(lines: TextIO) -> Rows:
    for line, text in enumerate(lines, 1):
        bare = text.lstrip("\ufeff").strip() if line == 1 else text.strip()
        if not bare:
            continue
        try:
            yield line, json.loads(bare)
        except (ValueError, RecursionError) as error:  # a number of over 4,300 digits is a plain ValueError
            yield line, BadRow(line, f"invalid JSON: {error}", bare)


def _json(path: Path) -> Rows:
    """Read a JSON array of rows, alone or as the only value of an object; many JSON lines are called .json too."""
    if _is_lines(path):
        yield from _json_lines(path)
        return
    with open_text(path) as file:
        text = file.read().lstrip("\ufeff")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON array: {error}") from error
    if isinstance(value, dict) and len(value) == 1 and isinstance(inner := next(iter(value.values())), list):
        value = inner
    yield from enumerate(value if isinstance(value, list) else [value], 1)


def _is_lines(path: Path) -> bool:
    """Say whether the file's first line is one row rather than the beginning of something longer, or its whole."""
    with open_text(path) as file:
        first = next((text for line in file if (text := line.strip("\ufeff \t\r\n"))), "")
    try:
        found = json.loads(first)
    except (ValueError, RecursionError):
        return not first.startswith(("[", "{"))
    return isinstance(found, dict) and len(found) > 1


def _table(path: Path) -> Rows:
    csv.field_size_limit(sys.maxsize)
    with open_text(path) as file:
        if file.read(1) != "\ufeff":
            file.seek(0)
        start = file.tell()
        header = file.readline()
        file.seek(start)
        table = csv.DictReader(file, strict=True, delimiter=max(",;\t", key=header.count))
        _check_header(table.fieldnames or ())
        for row in table:
            yield table.line_num, _table_row(table.line_num, row)


def _check_header(names: Any) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"the table has the column {', '.join(map(repr, twice))} more than once: rename one")


def _table_row(line: int, row: Mapping[Any, Any]) -> dict[str, object] | BadRow:
    if None in row or None in row.values():
        listed = {"rest" if name is None else name: cell for name, cell in row.items()}
        return BadRow(line, f"not {len(row) - (None in row)} cells", listed)
    filled = {name: cell for name, cell in row.items() if cell != ""}
    try:
        return {name: _cell(cell) for name, cell in filled.items()}
    except (ValueError, RecursionError) as error:
        return BadRow(line, f"a cell begins like messages, but is not JSON: {error}", filled)


def _cell(text: str) -> Any:
    """Return messages if a cell holds them, else the text."""
    value = json.loads(text) if _TURNS.match(text) else text
    turns = value if isinstance(value, list) else [value]
    whole = (isinstance(turn, dict) and (turn.keys() >= _MESSAGE or turn.keys() >= _SHAREGPT) for turn in turns)
    return value if all(whole) else text


_OPEN = {".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _table, ".tsv": _table}
SUFFIXES = tuple(_OPEN)
