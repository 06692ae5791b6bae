"""The life cycle in containers, on real images (`make image`): run, killed, served. `make test-images` runs this."""

import os
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pipelines.local.images import image
from rewardlab.files import read_json
from rewardlab.references import resolve
from synthetic import MakeDataConfig, make_data
from tests.command import read_lines, rewardlab, write_lines
from tests.container_engine import engine_socket, installed, podman
from tests.paths import ROOT

pytestmark = pytest.mark.images
DEPLOYMENT = ROOT / "deploy" / "base" / "scorer" / "deployment.yaml"
SIZE_LIMIT = 550 * 10**6
STEPS = {
    *("resolve", "fetch", "ingest", "validate", "split", "tokenize", "train", "export"),
    *("evaluate", "audit", "gate", "register", "promote"),
}
ASKED = {"prompt": "What is 2 + 2?", "responses": ["It is 4.", "It is 5.", "Nobody knows."]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the current folder, with a home of its own and an engine."""
    folder = tmp_path_factory.mktemp("place")
    with engine_socket(folder) as address, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DOCKER_HOST", address)
        patch.setenv("REWARDLAB_HOME", str(folder / "home"))
        patch.setenv("REWARDLAB_CACHE", str(folder / "backbones"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("REWARDLAB_IMAGE", raising=False)
        yield folder


@pytest.fixture(scope="module")
def champion(place: Path) -> dict[str, Any]:
    """Return the summary of the smoke recipe's run in containers."""
    done = rewardlab("run", "--recipe", "smoke", "--runner", "docker")
    assert done.code == 0, done.err
    return dict(read_json(place / "runs" / "latest" / "summary.json"))


@pytest.mark.parametrize("target", ["train", "serve"])
def test_an_image_is_what_its_bill_says_and_nothing_else(target: str, place: Path) -> None:
    bill = read_json(ROOT / "build" / "images" / f"{image(target).replace(':', '-')}.cdx.json")
    listed = {each["name"]: each["version"] for each in bill["components"] if each["purl"].startswith("pkg:pypi/")}
    found = {name.lower().replace("_", "-").replace(".", "-"): each for name, each in installed(target).items()}
    assert found == {name.replace(".", "-"): version for name, version in listed.items()}
    left = "import shutil; print([tool for tool in ('pip', 'gcc', 'cc', 'make', 'uv') if shutil.which(tool)])"
    run = ("run", "--rm", "--user", "0", "--entrypoint")
    assert podman(*run, "python", image(target), "-c", left) == "[]"
    caches = "find /root /tmp /var/lib/apt/lists /var/cache/apt -type f -size +100k"
    assert podman(*run, "sh", image(target), "-c", caches) == ""


def test_an_image_says_what_it_is_and_is_run_by_nobody(place: Path) -> None:
    [about] = yaml.safe_load(podman("image", "inspect", image("serve")))
    labels = {key.rpartition("image.")[2]: value for key, value in about["Labels"].items()}
    assert labels["version"] == image("serve").partition(":")[2]
    assert len(labels["revision"].removesuffix("-dirty")) == 40
    assert (about["Config"]["User"], about["Config"]["Entrypoint"]) == ("10001:10001", ["python", "-m", "serving"])
    assert read_json(ROOT / "build" / "images" / "serve.json")["num_bytes_added"] <= SIZE_LIMIT


def test_a_run_in_containers_is_promoted(champion: dict[str, Any], place: Path) -> None:
    assert (champion["decision"], champion["model"]) == ("promoted", "reward-model-smoke/1")
    assert set(champion["seconds"]) >= STEPS
    assert champion["lineage"]["image"] == f"localhost/{image('train')}"
    assert podman("ps", "--all", "--quiet") == ""
    log = (place / "runs" / "latest" / "log.txt").read_text()
    assert log.count(f"Found image 'localhost/{image('train')}'") == 0  # kfp's own function did not run them


def test_what_ran_in_containers_is_reused(champion: dict[str, Any], place: Path) -> None:
    done = rewardlab("run", "--recipe", "smoke", "--runner", "docker")
    assert done.code == 0, done.err
    again = read_json(place / "runs" / "latest" / "summary.json")
    assert (again["decision"], again["model"]) == ("unchanged", "reward-model-smoke/1")
    assert {"train", "export", "audit"} <= set(again["reused"])


def end(address: str, step: str, how: str) -> None:
    """Wait for a step's container, then end it."""
    import docker

    client = docker.DockerClient(base_url=address)
    for _ in range(1200):
        for container in client.containers.list():
            if container.attrs["Config"]["Cmd"][-1] == step:
                container.kill() if how == "kill" else container.remove(force=True)
                client.close()
                return
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["kill", "remove"])
def test_a_container_that_dies_or_vanishes_is_a_failed_step(how: str, place: Path) -> None:
    make_data(MakeDataConfig(size=120), place / f"data-{how}")
    killer = threading.Thread(target=end, args=(os.environ["DOCKER_HOST"], "validate", how))
    killer.start()
    done = rewardlab("run", "--recipe", "smoke", "--data", f"data-{how}", "--name", how, "--runner", "docker")
    killer.join()
    assert done.code == 1
    summary = read_json(place / "runs" / "latest" / "summary.json")
    assert summary["decision"] == "failed"
    assert summary["reason"].startswith("validate: RuntimeError: its container ")
    assert "split" not in summary["seconds"]
    assert podman("ps", "--all", "--quiet") == ""


def test_a_step_that_wants_more_memory_than_it_may_is_told_so(place: Path) -> None:
    make_data(MakeDataConfig(size=20), place / "few")
    done = rewardlab(
        "run", "--recipe", "smoke", "--data", "few", "--name", "few", "--runner", "docker", "--memory", "60m"
    )
    assert done.code == 1
    assert "did it want more than 60m of memory" in read_json(place / "runs" / "latest" / "summary.json")["reason"]


@pytest.fixture(scope="module")
def served(champion: dict[str, Any], place: Path) -> Iterator[str]:
    """Serve the champion by the very Deployment of `deploy/`, with its image; yield the address."""
    folder, _ = resolve("champion", name="reward-model-smoke")
    with tarfile.open(place / "bundle.tar", "w") as tar:
        tar.add(folder, ".")
    podman("volume", "create", "rewardlab-bundle")
    podman("volume", "import", "rewardlab-bundle", str(place / "bundle.tar"))
    deployment = yaml.safe_load(DEPLOYMENT.read_text())
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    container["image"] = f"localhost/{image('serve')}"
    (place / "deployment.yaml").write_text(yaml.safe_dump(deployment))
    try:
        podman("kube", "play", str(place / "deployment.yaml"))
        yield f"http://127.0.0.1:{container['ports'][0]['containerPort']}"
    finally:
        podman("kube", "down", str(place / "deployment.yaml"))
        podman("volume", "rm", "--force", "rewardlab-bundle")


def test_the_deployment_serves_the_champion(served: str, place: Path) -> None:
    spec = yaml.safe_load(DEPLOYMENT.read_text())["spec"]["template"]["spec"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = spec["containers"][0][name]["httpGet"]["path"]
        for _ in range(300):  # without systemd podman asks no probes
            with httpx.Client(timeout=5) as client:
                try:
                    if client.get(f"{served}{path}").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
            time.sleep(0.1)
        else:
            raise AssertionError(f"{path} was never 200: {podman('logs', 'scorer-pod-0-scorer')}")
    answer = httpx.post(f"{served}/v1/rewards", json=ASKED).json()
    write_lines(place / "in.jsonl", [ASKED])
    named = ("--name", "reward-model-smoke")
    assert rewardlab("score", "--in", place / "in.jsonl", "--out", place / "out.jsonl", *named).code == 0
    [line] = read_lines(place / "out.jsonl")
    assert answer["rewards"] == pytest.approx(line["rewards"], abs=1e-5)
    assert len(answer["rewards"]) == 3


def test_the_server_is_nobody_and_can_write_nothing(served: str) -> None:
    [name] = [each for each in podman("ps", "--format", "{{.Names}}").split() if each.endswith("-scorer")]
    assert podman("exec", name, "python", "-c", "import os; print(os.getuid())") == "10001"
    code = "import pathlib; [print(p) for p in ('/', '/opt/rewardlab', '/bundle') if not __import__('os').access(p, 2)]"
    assert podman("exec", name, "python", "-c", code).split() == ["/", "/opt/rewardlab", "/bundle"]
