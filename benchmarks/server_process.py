"""A server in a process of its own, watched from outside: its CPU seconds, memory, open files and metrics."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 300
READY = "/health/ready"
Environment = Mapping[str, str]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server on a port of this machine, and the seconds from its start to ready; `ours` tells metrics."""

    pid: int
    port: int
    start_seconds: float
    ours: bool

    @property
    def url(self) -> str:
        """Return the server's address."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all its threads, in user and kernel mode."""
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mb(self) -> float:
        """Return the memory that it holds, in MB."""
        return int(self._read("statm").split()[1]) * 4096 / 2**20

    def num_files(self) -> int:
        """Return how many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def metrics(self) -> dict[str, float]:
        """Return what Prometheus would see, by name and labels."""
        _, text = self.get("/metrics")
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def health(self) -> dict[str, int]:
        """Return the status of each question after its health."""
        return {name: self.get(f"/health/{name}")[0] for name in ("live", "ready")}

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of what is at a path, at next to no cost on this side."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text(encoding="utf-8")


@contextmanager
def serving(
    bundle: Path, *arguments: str, cores: str = "", python: Path | None = None, environment: Environment = os.environ
) -> Iterator[ServerProcess]:
    """Serve a bundle with `python -m serving`.

    Args:
        bundle: the bundle's folder.
        *arguments: more of the command line.
        cores: what taskset takes, by default all.
        python: an interpreter that has the serving packages, by default this one.
        environment: the process's variables.
    """
    command = [str(python or sys.executable), "-m", "serving", "--bundle", str(bundle), *arguments]
    yield from _started(command, cores=cores, ready=READY, environment=environment)


@contextmanager
def following(address: str, registry: str, *arguments: str) -> Iterator[ServerProcess]:
    """Serve what an alias names in an MLflow server, and go along when it moves."""
    command = [sys.executable, "-m", "serving", "--model", address, *arguments]
    yield from _started(command, ready=READY, environment={**os.environ, "MLFLOW_TRACKING_URI": registry})


@contextmanager
def contender(command: Sequence[str], *, cores: str, ready: str, folder: Path | None = None) -> Iterator[ServerProcess]:
    """Serve with another program, from a folder; it is told its port by `--port`, and to ask nobody on the internet."""
    settings = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    if folder:
        settings["HF_HOME"] = f"{folder}-cache"
    yield from _started(command, cores=cores, ready=ready, environment={**os.environ, **settings}, folder=folder)


def _started(
    command: Sequence[str], *, ready: str, environment: Environment, cores: str = "", folder: Path | None = None
) -> Iterator[ServerProcess]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    pinned = ["taskset", "-c", cores] if cores else []
    threads = {"OMP_NUM_THREADS": str(len(cores.split(",")))} if cores else {}
    started = time.perf_counter()
    process = subprocess.Popen(
        [*pinned, *command, "--port", str(port)], env={**environment, **threads}, cwd=folder, stdout=subprocess.DEVNULL
    )
    try:
        _wait(process, f"http://127.0.0.1:{port}{ready}")
        yield ServerProcess(process.pid, port, time.perf_counter() - started, ready == READY)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    told = "nothing"
    with httpx.Client(timeout=5) as client:
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                answer = client.get(url)
                if answer.status_code == 200:
                    return
                told = answer.text
            time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} is not ready, exit code {process.poll()}: {told}")
