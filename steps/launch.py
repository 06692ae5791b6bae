"""Start a module as several processes that know each other, with torchrun, and end when they end.

Standard input ties the processes to the one that launched them: a byte asks them to stop as SIGTERM does, its end kills
them, so that none outlives its launcher.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rewardlab.files import read_json, write_json
from steps.parallel import num_cores

_REPORTS = "REWARDLAB_RANK_REPORTS"
"""Where each process says why it failed."""


def launch(module: str, arguments: Sequence[str | Path], *, num_processes: int) -> None:
    """Run `python -m MODULE ARGUMENTS` in so many processes on this machine and wait for them.

    SIGTERM is handed on; whatever else ends the wait, such as Ctrl-C, ends the processes.

    Raises:
        ChildProcessError: a process failed; the message holds its rank and what it said.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, num_cores() // num_processes))
    with tempfile.TemporaryDirectory() as reports:
        command = [sys.executable, "-m", "steps.launch", str(num_processes), module, *map(str, arguments)]
        environment = {**os.environ, _REPORTS: reports, "OMP_NUM_THREADS": threads}
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
    if _REPORTS not in os.environ:
        yield
        return
    threading.Thread(target=_listen, daemon=True).start()
    try:
        yield
    except Exception as error:
        rank = os.environ["RANK"]
        found = {"rank": rank, "time_ns": time.time_ns(), "message": str(error) or type(error).__name__}
        write_json(Path(os.environ[_REPORTS]) / f"rank-{rank}.json", found)
        sys.exit(1)


@contextmanager
def on_sigterm(act: Callable[[], object]) -> Iterator[None]:
    """Call a function when SIGTERM comes while the block runs; outside a main thread no signal can be caught."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _listen() -> None:
    while os.read(0, 1):
        os.kill(os.getpid(), signal.SIGTERM)
    os._exit(1)


def _reason(reports: Path, code: int) -> str:
    """Return why the processes failed: a killed one is the cause of what the others say, else the first to fail is."""
    codes = read_json(reports / "codes.json") if (reports / "codes.json").is_file() else {}
    for rank, ended in codes.items():
        if ended < 0 and ended != -signal.SIGTERM:  # which torchrun sends to the others
            name = signal.Signals(-ended).name
            return f"rank {rank} was ended by {name}" + (", such as for want of memory" if name == "SIGKILL" else "")
    if said := [read_json(path) for path in reports.glob("rank-*.json")]:
        first = min(said, key=lambda each: each["time_ns"])
        return f"rank {first['rank']}: {first['message']}"
    return f"the processes ended with exit code {code} and gave no reason"


def _agent(num_processes: str, module: str, *arguments: str) -> int:
    """Be torchrun, and leave the exit codes of the processes that failed."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the launcher tells what failed
    try:
        run.main(["--standalone", f"--nproc-per-node={num_processes}", "--module", module, *arguments])
    except ChildFailedError as error:
        codes = {str(rank): failure.exitcode for rank, failure in error.failures.items()}
        write_json(Path(os.environ[_REPORTS]) / "codes.json", codes)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_agent(*sys.argv[1:]))
