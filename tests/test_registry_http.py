"""The registry on a real MLflow server over HTTP, whose artifacts go through the server too."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rewardlab.bundle import Bundle
from rewardlab.files import write_json
from rewardlab.references import resolve
from steps.promote import promote
from steps.register import RegisterConfig, register

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "a"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.5)
    yield url
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=30)


def test_register_promote_and_load_over_http(
    server: str, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    digest = Bundle.open(tiny_bundle).digest
    gate = tmp_path / "gate.json"
    write_json(gate, {"verdict": "pass", "reason": "because", "bundle": digest, "test_digest": "t"})
    config = RegisterConfig(name="http", run_id="run", lineage={"recipe": "smoke"}, data_md5="md5")
    label = register(config, tiny_bundle, {"gate": gate}).label
    assert promote("run", label, gate, "").decision == "promoted"
    folder, found = resolve("models:/http@champion")
    assert (found, Bundle.open(folder).digest) == ("http/1", digest)
