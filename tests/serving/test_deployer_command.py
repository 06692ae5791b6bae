"""`rewardlab deployer` and `rewardlab webhook`: what they refuse, and MLflow's own deliveries on a real server."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from commands.deploy import EVENTS
from serving.deployer.webhook import Reconciler, app_of
from steps.registry.client import connect
from tests.command import rewardlab
from tests.gated import crown
from tests.mlflow_server import mlflow_server
from tests.served import running, settled

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deploy" / "base" / "server" / "inference-service.json"
SECRET = "a secret of the test"  # pragma: allowlist secret


def test_the_command_is_the_module_with_its_options() -> None:
    given = ["deployer", "--template", str(TEMPLATE), "--artifacts", "s3://bucket/mlflow", "--min-requests", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "commands.cli", *given],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "REWARDLAB_WEBHOOK_SECRET": SECRET},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("deployer: a canary is watched for some time and some requests")


def test_a_webhook_without_a_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLAB_WEBHOOK_SECRET", "short")
    said = rewardlab("webhook", "--url", "http://127.0.0.1:1/webhook")
    assert (said.code, "at least 16 characters" in said.complaint) == (1, True)


@pytest.mark.slow
def test_mlflow_wakes_the_deployer_when_a_champion_is_made(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[float] = []
    for name, value in {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "REWARDLAB_WEBHOOK_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, value)

    def step() -> str:
        taken.append(time.monotonic())
        return "nothing to do"

    app = app_of(Reconciler(step, seconds=3600.0), SECRET)
    with mlflow_server(tmp_path) as server, running(app) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        settled(url)
        assert rewardlab("webhook", "--url", f"{url}/elsewhere").code == 0
        again = rewardlab("webhook", "--url", f"{url}/webhook")
        assert again.out.strip() == f"webhook rewardlab-deployer goes to {url}/webhook, as set again"
        (kept,) = connect().list_webhooks()
        assert (kept.url, [str(event) for event in kept.events]) == (f"{url}/webhook", EVENTS)
        before = len(taken)
        crown(tmp_path, tiny_bundle)
        for _ in range(200):
            if len(taken) > before:
                break
            time.sleep(0.1)
        assert len(taken) > before
