"""MLflow as deploy/ starts it, on PostgreSQL and S3: it lets in whom it knows, and the deployer reads what it keeps."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet

from rewardlab.layout import GATE_REPORT
from rewardlab.mlflow_rest import RestRegistry
from rewardlab.promotion import read, report_digest
from rewardlab.promotion.signing import signed_off
from steps.registry.versions import approve_version, promote_version
from tests.deployed_mlflow import container_of, started
from tests.gated import POLICY, add, report
from tests.manifests.checked import OVERLAYS
from tests.manifests.manifests import of_kind, render
from tests.postgres_cluster import postgres, postgres_binaries
from tests.s3_server import Store, s3_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgres_binaries() is None, reason="PostgreSQL is not installed: apt-get install postgresql"),
]
AUTH = "[mlflow]\ndefault_permission = READ\ndatabase_uri = {store}\nadmin_username = admin\n"
ADMIN = "only-of-this-test"


@pytest.fixture(scope="module")
def s3() -> Iterator[Store]:
    with s3_server("rewardlab") as store:
        yield store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, s3: Store, free_port: int) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    objects = render(next(path for path in OVERLAYS if path.name == "production"))
    settings = next(each["data"] for each in of_kind(objects, "ConfigMap") if "artifacts" in each["data"])
    settings["s3-endpoint"] = s3.variables["AWS_ENDPOINT_URL"]
    with postgres() as store:
        given = {"backend-store-uri": store, "auth.ini": AUTH.format(store=store), "admin-password": ADMIN}
        keys = {"session-key": "any", "webhook-key": Fernet.generate_key().decode()}
        secrets = {"rewardlab-mlflow-server": given | keys, "rewardlab-s3": {"access-key": "a", "secret-key": "b"}}
        command, env = started(container_of(objects), settings, secrets, folder=folder, port=free_port)
        process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield ready(f"http://localhost:{free_port}", process)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def ready(url: str, process: "subprocess.Popen[bytes]") -> str:
    for _ in range(240):
        assert process.poll() is None, "MLflow ended at once"
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/health").status_code == 200:
                return url
        time.sleep(0.5)
    raise AssertionError("MLflow is not ready after two minutes")


def test_it_lets_in_whom_it_knows_and_answers_to_its_names_alone(server: str) -> None:
    asked = "/api/2.0/mlflow/registered-models/search"
    assert httpx.get(f"{server}{asked}").status_code == 401
    assert httpx.get(f"{server}{asked}", auth=("admin", "guessed")).status_code == 401
    assert httpx.get(f"{server}{asked}", auth=("admin", ADMIN)).status_code == 200
    assert httpx.get(f"{server}{asked}", auth=("admin", ADMIN), headers={"host": "example.org"}).status_code == 403


def test_the_deployer_reads_the_report_and_the_signatures_that_are_kept_there(
    server: str, s3: Store, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {"URI": server, "USERNAME": "admin", "PASSWORD": ADMIN}
    for name, value in login.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    asked = {"aliases": ["production"], "people": 1}
    add(report(tmp_path, tiny_bundle, policy={**POLICY, "sign_off": asked}), tiny_bundle)
    with closing(RestRegistry.of_environment()) as registry:
        with pytest.raises(ValueError, match="0 of 1 people have signed"):
            promote_version("m", "1")
        approve_version("m", "1", person="ada")
        promote_version("m", "1")
        entry = read(registry, "m").head("champion")
        assert entry
        kept = registry.document(entry.run, GATE_REPORT)
        assert report_digest(kept) == entry.report
        assert signed_off(kept, registry.tags("m", "1"), "m/1") == entry.signed
    assert [each.split()[0] for each in entry.signed] == ["ada"]
    assert [key for key in s3.keys("rewardlab") if key.startswith("mlflow/") and key.endswith(GATE_REPORT)]
