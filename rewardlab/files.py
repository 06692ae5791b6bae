"""Files and folders: JSON lines, digests, and writes that are whole or not there at all."""

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rewardlab.groups import PreferenceGroup

_CHUNK_BYTES = 2**21


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it to `target` when the block ends without an error.

    The block may make a file or a folder there. On an error, or if nothing was made, `target` is untouched.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        made = scratch / target.name
        yield made
        if not made.exists():
            raise FileNotFoundError(f"nothing was made for {target}")
        if target.is_dir() and not target.is_symlink():
            os.rename(target, scratch / "replaced")
        os.replace(made, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(target) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write readable JSON atomically; NaN and infinity are refused."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(source: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: the file is not JSON; the message names it.
    """
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not JSON: {error}") from error


def open_text(source: Path) -> TextIO:
    """Open a text file for reading, gunzipping by its first bytes rather than its name."""
    with source.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(source, "rt", encoding="utf-8") if zipped else source.open(encoding="utf-8")


def write_groups(target: Path, groups: Iterable[PreferenceGroup]) -> int:
    """Write groups as gzipped JSON lines, byte-identical for equal groups. Return how many."""
    count = 0
    with pack(target) as packed:
        for group in groups:
            packed.write(group_line(group))
            count += 1
    return count


@contextmanager
def pack(target: Path) -> Iterator[gzip.GzipFile]:
    """Write a gzip file atomically; its bytes depend on nothing but what is written."""
    with (
        atomic_path(target) as scratch,
        scratch.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=3, mtime=0, filename="") as packed,
    ):
        yield packed


def group_line(group: PreferenceGroup) -> bytes:
    """Return a group as the line that stands for it in a file."""
    return json.dumps(group.to_dict(), ensure_ascii=False).encode() + b"\n"


def parse_group(line: bytes | str) -> PreferenceGroup:
    """Return the group of a line."""
    return PreferenceGroup.from_dict(json.loads(line))


def read_groups(source: Path) -> Iterator[PreferenceGroup]:
    """Yield the groups of a file that `write_groups` made."""
    with open_text(source) as lines:
        for line in lines:
            yield parse_group(line)


def read_chunks(source: Path) -> Iterator[list[bytes]]:
    """Yield the lines of a file that `write_groups` made, as many at a time as fill 2 MB."""
    with gzip.open(source, "rb") as file:
        while lines := file.readlines(_CHUNK_BYTES):
            yield lines


def file_digest(source: Path, algorithm: str = "sha256") -> str:
    """Return the hex digest of a file's bytes."""
    with source.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def tree_digest(root: Path) -> str:
    """Return one digest of a file, or of a folder's relative names and contents."""
    if root.is_file():
        return file_digest(root)
    total = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(root).as_posix()}\0{file_digest(path)}\n".encode())
    return total.hexdigest()
