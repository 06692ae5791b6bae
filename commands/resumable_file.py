"""Lines that are written as they are made, so that work which was cut off goes on where it stopped."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from rewardlab.config import canonical_json
from rewardlab.files import atomic_path


class Part:
    """A file beside the finished one: a first line that says what of, then the lines that are done.

    Args:
        path: the file; what is in it counts only if it is of the same.
        facts: what decides the lines: input, model, options.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self._path = path
        self._head = canonical_json(facts).encode() + b"\n"
        self.num_done = self._length = 0
        if path.is_file():
            with path.open("rb") as file:
                if file.readline() == self._head:
                    whole = [len(line) for line in file if line.endswith(b"\n")]
                    self.num_done, self._length = len(whole), len(self._head) + sum(whole)

    def __enter__(self) -> Self:
        """Open the file behind its last whole line, or anew."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("r+b" if self._length else "wb")
        self._file.truncate(self._length)
        self._file.seek(self._length)
        if not self._length:
            self._file.write(self._head)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file and keep it."""
        self._file.close()

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write lines where a crash of this process cannot lose them."""
        self._file.write(b"".join(json.dumps(line, allow_nan=False).encode() + b"\n" for line in lines))
        self._file.flush()

    def discard(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    def finish(self, target: Path) -> int:
        """Make the finished file of the lines, whole or not at all; return how many tell of an error."""
        bad = 0
        with self._path.open("rb") as lines, atomic_path(target) as scratch, scratch.open("wb") as out:
            lines.readline()
            for line in lines:
                bad += json.loads(line)["rewards"] is None
                out.write(line)
        self.discard()
        return bad
