"""A real MLflow server over HTTP, whose artifacts go through the server too, for as long as a block lasts."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx


@contextlib.contextmanager
def mlflow_server(
    folder: Path, *, store: str = "", workers: int = 1, artifacts: str = "", proxied: bool = True
) -> Iterator[str]:
    """Yield the URL of a server that keeps everything in a folder, or records in a database and artifacts elsewhere.

    Clients send artifacts through the server if it is `proxied`, else they go to the place themselves.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", str(workers)]
    command += [
        "--backend-store-uri",
        store or f"sqlite:///{folder / 'mlflow.db'}",
        *(("--artifacts-destination",) if proxied else ("--no-serve-artifacts", "--default-artifact-root")),
        artifacts or str(folder / "a"),
    ]
    pool = {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "40", "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "40"} if store else {}
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **pool}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
