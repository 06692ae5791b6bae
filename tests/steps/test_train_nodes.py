"""Two nodes of a TrainJob train as one process does, and go on from the checkpoint when one is lost."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rewardlab.files import read_json
from steps.train import train
from tests.cluster.kubernetes import Kubernetes
from tests.conftest import Once
from tests.steps.test_launch_nodes import cluster
from tests.steps.test_train_resume import newest, sigterm_at, wait_for_step
from tests.toys import configured
from tests.two_hosts import ADDRESSES, CARD, on, switch_off, two_hosts

STEPS = 30
USUAL: dict[str, Any] = {"max_groups": 24, "epochs": 10, "checkpoint_seconds": 0.0, "learning_rate": 1e-5}
USUAL |= {"validate_every": 3, "patience": 99}
TRAJECTORY = ("train_loss", "validation_loss", "validation_accuracy")


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    with two_hosts() as names:
        yield names


@pytest.fixture
def nodes(
    hosts: tuple[str, str], registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Kubernetes]:
    """Be in a pod of a cluster with two nodes, whose runtime starts all of them again twice."""
    home = str(Path("~/.cache/rewardlab").expanduser())
    known = {"REWARDLAB_HOME": str(registry), "REWARDLAB_CACHE": home, "GLOO_SOCKET_IFNAME": CARD}
    how = {"nodes": [on(name) for name in hosts], "master": ADDRESSES[0], "environment": known, "max_restarts": 2}
    with cluster(tmp_path, monkeypatch, **how) as state:
        yield state


@pytest.fixture(scope="session")
def alone(tokens: Path, once: Once) -> Path:
    """Return the model that one process trains."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REWARDLAB_HOME", str(folder / "home"))
            train(configured(**USUAL), tokens, folder / "model", state=folder / "state")

    return once("trained-alone", make) / "model"


def differ(one: Path, other: Path) -> float:
    """Return the largest difference of two models' weights and of what was measured on the way."""
    weights = [load_file(folder / "model.safetensors") for folder in (one, other)]
    rows = [read_json(folder / "training.json")["history"] for folder in (one, other)]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    gaps = [abs(a[name] - b[name]) for a, b in zip(*rows, strict=True) for name in TRAJECTORY]
    return max(*gaps, *(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]))


@pytest.mark.slow
def test_two_nodes_reach_what_one_process_reaches(
    alone: Path, nodes: Kubernetes, tokens: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = train(configured(num_processes=2, **USUAL), tokens, tmp_path / "model", state=tmp_path / "state")
    assert (report.num_steps, nodes.starts) == (STEPS, 1)
    assert differ(alone, tmp_path / "model") < 1e-5
    assert not (tmp_path / "state").exists()


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_node_that_is_lost_costs_a_restart_and_nothing_else(
    lost: int,
    alone: Path,
    nodes: Kubernetes,
    tokens: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    at: list[int] = []

    def lose() -> None:
        wait_for_step(tmp_path / "state", 5)
        switch_off(nodes.nodes[lost][-1])
        at.append(newest(tmp_path / "state"))

    losing = threading.Thread(target=lose)
    losing.start()
    report = train(configured(num_processes=2, **USUAL), tokens, tmp_path / "model", state=tmp_path / "state")
    losing.join()
    assert 5 <= at[0] < STEPS
    assert (report.num_steps, nodes.starts) == (STEPS, 2)
    assert "node 0 | training goes on from its checkpoint at step" in capfd.readouterr().err
    assert differ(alone, tmp_path / "model") < 1e-5


@pytest.mark.slow
def test_a_train_step_that_is_preempted_takes_its_nodes_along_and_the_next_goes_on(
    alone: Path, nodes: Kubernetes, tokens: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def step() -> None:
        train(configured(num_processes=2, **USUAL), tokens, tmp_path / "model", state=tmp_path / "state")

    with sigterm_at(tmp_path / "state", 5), pytest.raises(InterruptedError, match="was asked to stop"):
        step()
    assert not nodes.jobs
    at = newest(tmp_path / "state")
    assert 5 <= at < STEPS
    step()
    assert nodes.starts == 2
    assert f"node 0 | training goes on from its checkpoint at step {at}" in capfd.readouterr().err
    assert differ(alone, tmp_path / "model") < 1e-5


@pytest.mark.slow
def test_what_a_node_says_is_what_the_step_says(nodes: Kubernetes, tokens: Path, tmp_path: Path) -> None:
    config = configured(num_processes=2, token_budget=30, **USUAL)
    with pytest.raises(
        ChildProcessError, match=r"TrainJob train-state .*would fail again: rank \d: .* the budget is 30 tokens"
    ):
        train(config, tokens, tmp_path / "model", state=tmp_path / "state")
