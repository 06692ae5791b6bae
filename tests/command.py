"""Run the command line in this process, as a program would see it."""

import io
import json
import re
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands.cli import main

_PROGRESS = re.compile(r"\[\d\d:\d\d")


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """Return the one line on standard error, behind `rewardlab: `, progress apart, which comes by the clock."""
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line and not _PROGRESS.search(line)]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("rewardlab: ")
        return lines[0].removeprefix("rewardlab: ").strip()


def rewardlab(*arguments: object) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code or 0
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())


def write_lines(target: Path, rows: Iterable[Any]) -> Path:
    """Write rows as JSON lines; a string or bytes is a line of its own."""
    lines = [
        row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else json.dumps(row).encode()
        for row in rows
    ]
    target.write_bytes(b"\n".join(lines) + b"\n")
    return target


def read_lines(source: Path) -> list[Any]:
    """Read JSON lines strictly: NaN and infinity are no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {source}")

    return [json.loads(line, parse_constant=refuse) for line in source.read_text(encoding="utf-8").splitlines()]
