"""The local registry over HTTP, for as long as a run in containers lasts."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlparse

from rewardlab.home import home, tracking_uri
from steps.registry.client import connect, experiment

_PATIENCE_SECONDS = 120
"""The first start on a slow machine has to compile what it imports."""


@contextmanager
def registry_over_http(log: Path) -> Iterator[str]:
    """Yield the registry's address: that of `MLFLOW_TRACKING_URI`, or of a server on this machine's own loopback.

    Artifacts do not go through that server: they are files in `home()`, where runs without containers find them.

    Args:
        log: what the server says.

    Raises:
        ValueError: the registry cannot be reached, or the server does not start.
    """
    uri = tracking_uri()
    if urlparse(uri).scheme in ("http", "https"):
        yield uri
        return
    experiment(connect())  # so that its artifacts are where a local run puts them
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        uri,
        "--default-artifact-root",
        str(home() / "artifacts"),
        "--no-serve-artifacts",
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("ab") as out:
        server = subprocess.Popen(  # noqa: S603 (mlflow's own)
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        _end(server)


def _end(server: "subprocess.Popen[bytes]") -> None:
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, ending)
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=20)
            return


def _wait(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    import httpx

    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end and server.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{address}/health").status_code == 200:
                return
        time.sleep(0.2)
    raise ValueError(f"the registry's server did not start at {address}: see {log}")
