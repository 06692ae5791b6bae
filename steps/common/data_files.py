"""Where data come from: files and folders of shards as numbered rows, and the md5 that DVC gives them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from rewardlab import rows
from rewardlab.files import file_digest
from rewardlab.rows import Rows, suffix

SUFFIXES = (*rows.SUFFIXES, ".parquet")
_ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


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
    files = sorted(path for path in source.rglob("*") if suffix(path) in SUFFIXES and _is_data(path, source))
    if not files:
        raise ValueError(f"the folder {source} holds no data: files end in {', '.join(SUFFIXES)} (or that and .gz)")
    return files


def _is_data(path: Path, source: Path) -> bool:
    """Say whether a file is neither hidden, as editors' copies are, nor what `datasets` keeps about its data."""
    hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
    return path.is_file() and not hidden and path.name not in _ABOUT


def open_rows(path: Path) -> Rows:
    """Yield `(line, row)` of one file: what `rewardlab.rows` reads, or Parquet, whose lines are its rows.

    Raises:
        ValueError: the file is empty, cut short, damaged or not UTF-8.
    """
    return _parquet(path) if suffix(path) == ".parquet" else rows.open_rows(path)


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


def _parquet(path: Path) -> Rows:
    import pyarrow.parquet  # type: ignore[import-untyped]

    rows.refuse_pointer(path)
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from error
    if not file.metadata.num_rows:
        raise ValueError(f"{path} is empty")
    line = 0
    try:
        for batch in file.iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                line += 1
                yield line, _filled(row)
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} is damaged behind row {line} ({error}): fetch it again") from error


def _filled(value: Any) -> Any:
    """Leave out what is null: a table has every column in every row."""
    if isinstance(value, dict):
        return {name: _filled(entry) for name, entry in value.items() if entry is not None}
    return [_filled(entry) for entry in value] if isinstance(value, list) else value
