"""Rows of text files: JSON lines, JSON arrays and CSV tables, gzipped or not, with the number of each line."""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from rewardlab.files import open_text
from rewardlab.readers import BadRow

Rows = Iterator[tuple[int, Any]]


def open_rows(path: Path) -> Rows:
    """Yield `(line, row)` of one file; a line that is not JSON comes as a `BadRow`.

    Lines count from 1. Blank lines are no rows; empty cells of a table are left out.

    Raises:
        ValueError: the file is of no known kind, empty, cut short, damaged or not UTF-8.

    Example:
        >>> next(open_rows(Path("pairs.jsonl")))
        (1, {'prompt': 'What is 2 + 2?', 'chosen': 'It is 4.', 'rejected': 'It is 5.'})
    """
    if suffix(path) not in _OPEN:
        raise ValueError(f"the name ends in none of {', '.join(_OPEN)} (each may end in .gz)")
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
        except (json.JSONDecodeError, RecursionError) as error:
            yield line, BadRow(line, f"invalid JSON: {error}", bare)


def _json(path: Path) -> Rows:
    """Read a JSON array of rows; many files of JSON lines are called .json too."""
    with open_text(path) as file:
        start = file.read(4096).lstrip("\ufeff \t\r\n")
    if not start.startswith("["):
        yield from _json_lines(path)
        return
    with open_text(path) as file:
        try:
            yield from enumerate(json.loads(file.read().lstrip("\ufeff")), 1)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{path} is not a JSON array: {error}") from error


def _csv(path: Path) -> Rows:
    csv.field_size_limit(sys.maxsize)
    with open_text(path) as file:
        if file.read(1) != "\ufeff":
            file.seek(0)
        table = csv.DictReader(file, strict=True)
        for row in table:
            if None in row or None in row.values():
                yield table.line_num, BadRow(table.line_num, f"not {len(table.fieldnames or ())} cells", _listed(row))
            else:
                yield table.line_num, {name: cell for name, cell in row.items() if cell != ""}


def _listed(row: dict[Any, Any]) -> dict[str, Any]:
    return {"rest" if name is None else name: cell for name, cell in row.items()}


_OPEN = {".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _csv}
