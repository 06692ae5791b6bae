"""Follow kfp's local log: which step runs, how long each took, what was reused, and why one failed."""

import io
import re
import sys
import time
from pathlib import Path
from typing import TextIO

from rewardlab.files import write_json
from rewardlab.layout import LOG, RUN_RECORD

_COLOUR = re.compile(r"\x1b\[\d+m")
_START = re.compile(r"Executing task '(?P<step>[\w-]+)'")
_END = re.compile(r"Task '(?P<step>[\w-]+)' finished with status (?P<status>\w+)")
_REUSED = re.compile(r"Task (?P<step>[\w-]+) cache hit")
_ERROR = re.compile(r"^(?P<indent>\s*)(?:[\w.]+\.)?(?P<kind>\w+(?:Error|Exception|Interrupt))(?:: (?P<text>.+))?$")
_BAR = re.compile(r"\d+%\||\d+(?:groups|responses|probes|steps)? \[")


class Watch(io.TextIOBase):
    """A text stream that keeps kfp's log in a file, shows progress, and writes `steps.json` as steps end."""

    def __init__(self, run_folder: Path, terminal: TextIO) -> None:
        self._log = (run_folder / LOG).open("a", encoding="utf-8")
        self._state = run_folder / RUN_RECORD
        self._terminal = terminal
        self._partial = ""
        self._step, self._started = "", 0.0
        self._last_error, self._goes_on = "", ""
        self.seconds: dict[str, float] = {}
        self.reused: list[str] = []
        self.failed: dict[str, str] = {}

    def write(self, text: str) -> int:
        """Take what kfp prints."""
        self._log.write(text)
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._line(_COLOUR.sub("", line))
        return len(text)

    def close(self) -> None:
        """Close the log; a step that is still running was interrupted."""
        if not self.closed:
            self._line(_COLOUR.sub("", self._partial))
            if self._step:
                self._end(self._step, failed=True)
            self._log.close()
        super().close()

    def _line(self, line: str) -> None:
        if match := _START.search(line):
            self._step, self._started, self._last_error = match["step"], time.monotonic(), ""
            self._show(f"  {self._step} ...", end="\r" if self._terminal.isatty() else "\n")
        elif match := _END.search(line):
            self._end(match["step"], failed=match["status"] != "SUCCESS")
        elif match := _REUSED.search(line):
            self.reused.append(match["step"])
            self._show(f"  {match['step']:<10} reused")
            self._save()
        elif match := _ERROR.match(line):
            self._last_error, self._goes_on = _message(match["kind"], match["text"]), match["indent"] + "  "
        elif self._goes_on and line.startswith(self._goes_on):
            self._last_error += f"\n  {line.strip()}"
        else:
            self._goes_on = ""
            if self._step and _BAR.search(line):
                self._show(f"  {self._step}: {line.strip()}", end="\r" if self._terminal.isatty() else "\n")

    def _end(self, step: str, *, failed: bool) -> None:
        self.seconds[step] = self.seconds.get(step, 0.0) + round(time.monotonic() - self._started, 2)
        reason = self._last_error or f"it stopped without an error message, see {LOG}"
        if failed and reason not in self.failed.values():  # `report` fails for the reason that another step failed for
            self.failed[step] = reason
        self._show(f"  {step:<10} {'FAILED' if failed else 'done'} in {self.seconds[step]:.1f} s")
        self._step = ""
        self._save()

    def _show(self, text: str, end: str = "\n") -> None:
        clear = "\x1b[2K" if self._terminal.isatty() else ""
        print(clear + text, end=end, file=self._terminal, flush=True)

    def _save(self) -> None:
        self._log.flush()
        write_json(self._state, {"seconds": self.seconds, "reused": self.reused, "failed": self.failed})


def _message(kind: str, text: str | None) -> str:
    """Return what an error says; messages of ValueError are written for people, others need their name."""
    if not text:
        return kind
    return text.strip() if kind == "ValueError" else f"{kind}: {text.strip()}"


def terminal() -> TextIO:
    """Return where people look."""
    return sys.stderr
