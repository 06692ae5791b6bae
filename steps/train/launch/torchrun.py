"""Start a module with torchrun as several processes of this machine, and end when they end.

Standard input ties the processes to the one that launched them: a byte asks them to stop as SIGTERM does, its end kills
them, so that none outlives its launcher.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rewardlab.cores import num_cores
from rewardlab.files import read_json, write_json
from steps.train.launch.signals import on_sigterm

REPORTS = "REWARDLAB_RANK_REPORTS"
"""Where each process says why it failed."""
EXIT_CODES = "codes.json"
"""The exit codes of the processes that failed, in the same folder."""
_TIED = "REWARDLAB_RANK_TIED"
"""Set where standard input is the launcher's."""


def launch(module: str, arguments: Sequence[str | Path], *, num_processes: int) -> None:
    """Run `python -m MODULE ARGUMENTS` in so many processes on this machine and wait for them.

    SIGTERM is handed on; whatever else ends the wait, such as Ctrl-C, ends the processes.

    Raises:
        ChildProcessError: a process failed; the message holds its rank and what it said.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, num_cores() // num_processes))
    with tempfile.TemporaryDirectory() as reports:
        command = [sys.executable, "-m", "steps.train.launch.agent", str(num_processes), module, *map(str, arguments)]
        environment = {**os.environ, REPORTS: reports, _TIED: "1", "OMP_NUM_THREADS": threads}
        started = subprocess.Popen(  # noqa: S603 (our own module)
            command, stdin=subprocess.PIPE, env=environment, start_new_session=True
        )
        with started as process:
            assert process.stdin is not None
            word = process.stdin.fileno()
            with on_sigterm(lambda: os.write(word, b"t")):
                code = process.wait()
        if code:
            raise ChildProcessError(_reason(Path(reports), code))


@contextmanager
def reporting() -> Iterator[None]:
    """Do a launched process's work: an error becomes a report to the launcher, whose word and end are listened to.

    Under a torchrun that somebody else started there is no launcher, and an error is an error.
    """
    if REPORTS not in os.environ:
        yield
        return
    rank = os.environ["RANK"]
    report = Path(os.environ[REPORTS]) / f"rank-{rank}.json"
    report.unlink(missing_ok=True)  # of a try before this one
    if _TIED in os.environ:
        threading.Thread(target=_listen, daemon=True).start()
    try:
        yield
    except Exception as error:
        found = {"rank": rank, "time_ns": time.time_ns(), "message": str(error) or type(error).__name__}
        write_json(report, {**found, "final": isinstance(error, ValueError)})
        sys.exit(1)


def first_report(reports: Path, *, final: bool = False) -> str | None:
    """Return what the process that failed first said, if any did; `final` is what would fail again, a ValueError."""
    said = [read_json(path) for path in reports.glob("rank-*.json")]
    if said := [each for each in said if each["final"] or not final]:
        first = min(said, key=lambda each: each["time_ns"])
        return f"rank {first['rank']}: {first['message']}"
    return None


def _listen() -> None:
    while os.read(0, 1):
        os.kill(os.getpid(), signal.SIGTERM)
    os._exit(1)


def _reason(reports: Path, code: int) -> str:
    """Return why the processes failed: a killed one is the cause of what the others say, else the first to fail is."""
    codes = read_json(reports / EXIT_CODES) if (reports / EXIT_CODES).is_file() else {}
    for rank, ended in codes.items():
        if ended < 0 and ended != -signal.SIGTERM:  # which torchrun sends to the others
            name = signal.Signals(-ended).name
            return f"rank {rank} was ended by {name}" + (", such as for want of memory" if name == "SIGKILL" else "")
    return first_report(reports) or f"the processes ended with exit code {code} and gave no reason"
