"""Keep what a run prints in a file, and show on the terminal how its steps go."""

import io
import re
from pathlib import Path
from typing import TextIO

from rewardlab.layout import LOG
from steps.common.run_record import StepRecord

_BAR = re.compile(r"\d+%\||\d+(?:groups|responses|probes|steps)? \[")


class RunOutput(io.TextIOBase):
    """A text stream that keeps what kfp and the steps print in `log.txt`, and shows their progress."""

    def __init__(self, run_folder: Path, terminal: TextIO) -> None:
        self._log = (run_folder / LOG).open("a", encoding="utf-8")
        self._terminal = terminal
        self._partial = ""
        self._step = ""

    def write(self, text: str) -> int:
        """Take what is printed."""
        self._log.write(text)
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            if self._step and _BAR.search(line):
                self._show_going(f"  {self._step}: {line.strip()}")
        return len(text)

    def start(self, step: str) -> None:
        """Show that a step is executed."""
        self._step = step
        self._show_going(f"  {step} ...")

    def end(self, record: StepRecord) -> None:
        """Show how a step went."""
        self._step = ""
        self._log.flush()
        if record.reused:
            self._show(f"  {record.name:<10} reused")
        else:
            self._show(f"  {record.name:<10} {'FAILED' if record.error else 'done'} in {record.seconds:.1f} s")

    def close(self) -> None:
        """Close the log."""
        if not self.closed:
            self._log.close()
        super().close()

    def _show_going(self, text: str) -> None:
        """Show a line that the next one takes the place of, on a terminal that can."""
        self._show(text, end="\r" if self._terminal.isatty() else "\n")

    def _show(self, text: str, end: str = "\n") -> None:
        clear = "\x1b[2K" if self._terminal.isatty() else ""
        print(clear + text, end=end, file=self._terminal, flush=True)
