"""Where data come from: files and folders of shards as numbered rows, and the md5 that DVC gives them."""

import csv
import gzip
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from rewardlab.files import file_digest, open_text
from rewardlab.readers import BadRow

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
Rows = Iterator[tuple[int, Any]]


def data_files(source: Path) -> list[Path]:
    """Return the data files of a folder, by name, or the file itself.

    Raises:
        ValueError: there is nothing, or nothing of a known kind.
    """
    if not source.exists():
        raise ValueError(f"{source} does not exist")
    if source.is_file():
        if suffix(source) not in SUFFIXES:
            raise ValueError(f"{source} is none of {', '.join(SUFFIXES)} (each may end in .gz)")
        return [source]
    visible = (path for path in source.rglob("*") if not path.relative_to(source).as_posix().startswith("."))
    files = sorted(path for path in visible if path.is_file() and suffix(path) in SUFFIXES)
    if not files:
        raise ValueError(f"the folder {source} holds no data: files end in {', '.join(SUFFIXES)} (or that and .gz)")
    return files


def open_rows(path: Path) -> Rows:
    """Yield `(line, row)` of one file; a line that is not JSON comes as a `BadRow`.

    Lines count from 1. Blank lines are no rows; empty cells of a table are left out.

    Raises:
        ValueError: the file is empty, cut short, damaged or not UTF-8.
    """
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
    """Return what kind of file a name says, such as `.jsonl` of `a.jsonl.gz`."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def data_md5(path: Path) -> str:
    """Return the md5 that `dvc add` writes for a file or, ending in ".dir", for a folder.

    Raises:
        ValueError: there is nothing to hash.
    """
    if path.is_file():
        return file_digest(path, "md5")
    files = [file for file in path.rglob("*") if file.is_file()]
    if not files:
        raise ValueError(f"{path} is no file and no folder that holds one")
    entries = [{"md5": file_digest(file, "md5"), "relpath": file.relative_to(path).as_posix()} for file in files]
    listing = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"


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


def _parquet(path: Path) -> Rows:
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from error
    line = 0
    for batch in file.iter_batches(batch_size=1000):
        for row in batch.to_pylist():
            line += 1
            yield line, _filled(row)


def _filled(value: Any) -> Any:
    """Leave out what is null: a table has every column in every row."""
    if isinstance(value, dict):
        return {name: _filled(entry) for name, entry in value.items() if entry is not None}
    return [_filled(entry) for entry in value] if isinstance(value, list) else value


_OPEN = {".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _csv, ".parquet": _parquet}
