"""A TrainJob is what Trainer knows, its logs and failures arrive, and a cluster that falters is asked again."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.profiles import fitted, profile
from pipelines.recipes import recipe
from steps.registry.step_failures import CLUSTER_RUN
from steps.train.launch import TrainJob
from steps.train.launch.nodes import POD_NAME, POD_UID, SPEC, delete_jobs_of_run
from tests.cluster import kubernetes as fake_kubernetes
from tests.cluster.kubernetes import JOBS, Kubernetes
from tests.pipelines.test_profiles import several_nodes


@contextmanager
def cluster(folder: Path, patch: pytest.MonkeyPatch, **how: Any) -> Iterator[Kubernetes]:
    """Be in a pod of a cluster whose profile is `multi-node`."""
    with fake_kubernetes.running(folder / "account", **how) as state:
        patch.setattr("rewardlab.kubernetes.ACCOUNT", folder / "account")
        patch.setattr("rewardlab.kubernetes._PAUSE_SECONDS", 0.01)
        patch.setattr("steps.train.launch.nodes._WATCH_SECONDS", 0.05)
        patch.setattr("steps.train.launch.nodes._GONE_SECONDS", 0.05)
        patch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        patch.setenv("KUBERNETES_SERVICE_PORT", str(state.port))
        patch.setenv(SPEC, several_nodes())
        yield state


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Return a function that runs the environment's job in four processes."""

    def run(module: str = "steps.train.rank", name: str = "train-1") -> None:
        job = TrainJob.described()
        assert job
        job.run(module, ["{}", tmp_path], num_processes=16, name=name, reports=tmp_path / "reports")

    return run


def manifest(name: str, folder: Path) -> dict[str, Any]:
    """Return the manifest of a job as the train step makes it."""
    job = TrainJob.described()
    assert job
    return job._manifest(name, "steps.train.rank", ["{}", folder], num_processes=16, reports=folder / "reports")


def said(folder: Path, message: str, *, final: bool) -> str:
    """Return the beginning of a script that reports as a process does that fails."""
    report = {"rank": "3", "time_ns": 1, "message": message, "final": final}
    file = folder / "reports" / "rank-3.json"
    return f"echo '{json.dumps(report)}' > {file}.new; mv {file}.new {file}; "


def pods(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


def test_a_job_that_outlived_its_step_goes_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with cluster(tmp_path, monkeypatch, instead=pods("sleep 60")) as state:
        for name, of_run in (("train-1", "one"), ("train-2", "two")):
            monkeypatch.setenv(CLUSTER_RUN, of_run)
            state.create(manifest(name, tmp_path))
        monkeypatch.setenv(CLUSTER_RUN, "one")
        delete_jobs_of_run()
        assert [path for method, path in state.asked if method == "DELETE"] == [f"{JOBS}/train-1"]
        while "train-1" in state.jobs:
            time.sleep(0.01)
        assert list(state.jobs) == ["train-2"]
        state.failing = [403]
        delete_jobs_of_run()
    assert "TrainJob train-1 had outlived its step" in (said := capfd.readouterr().err)
    assert "the run's TrainJobs are not looked for: Kubernetes refuses" in said


def test_the_job_is_the_profile_s_with_name_command_and_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(POD_NAME, "train-pod")
    monkeypatch.setenv(POD_UID, "uid-1")
    with cluster(tmp_path, monkeypatch, instead=pods('echo "hello from $PET_NODE_RANK"; sleep 0.2; echo bye')) as state:
        run()
        made = state.jobs["train-1"]
    trainer, wanted = made["spec"]["trainer"], json.loads(several_nodes())["trainer"]
    command = ["python", "-m", "torch.distributed.run", "--module", "steps.train.rank", "{}", str(tmp_path)]
    assert (trainer["command"], trainer["numNodes"], trainer["numProcPerNode"]) == (command, 2, 8)
    assert trainer["env"] == [
        *wanted["env"],
        {"name": "REWARDLAB_RANK_REPORTS", "value": str(tmp_path / "reports")},
    ]
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("node ")]
    assert sorted(told) == [f"node {node} | {text}" for node in (0, 1) for text in ("bye", f"hello from {node}")]


def test_a_failed_node_s_reason_is_told_and_the_next_try_is_another_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    with cluster(tmp_path, monkeypatch, instead=pods("exit 1")) as state:
        with pytest.raises(ChildProcessError, match="TrainJob train-1 failed: jobset failed"):
            run()
        state.instead = pods(said(tmp_path, "connection closed", final=False) + "exit 1")
        with pytest.raises(ChildProcessError, match="failed: rank 3: connection closed"):
            run()
        state.instead = pods('[ "$PET_NODE_RANK" = 0 ] && sleep 60; kill -9 $$')
        with pytest.raises(ChildProcessError, match="node 1 was ended: OOMKilled, exit code 137"):
            run()
        state.instead = pods("exit 0")
        run()
    assert [each for each in state.asked if each[0] == "POST"] == [("POST", JOBS)] * 4


def test_what_would_fail_again_is_not_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    script = said(tmp_path, "a bad row", final=True) + "sleep 1; exit 1"
    with cluster(tmp_path, monkeypatch, instead=pods(script), max_restarts=9) as state:
        with pytest.raises(ChildProcessError, match="was ended, it would fail again: rank 3: a bad row"):
            run()
        assert (state.jobs, state.starts) == ({}, 1)


def test_a_runtime_that_restarts_nodes_costs_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    once = f'[ -e {tmp_path}/$PET_NODE_RANK ] && exit 0; touch {tmp_path}/$PET_NODE_RANK; [ "$PET_NODE_RANK" = 0 ]'
    with cluster(tmp_path, monkeypatch, instead=pods(once), max_restarts=2) as state:
        run()
        assert state.starts == 2


def test_an_api_that_falters_is_asked_again_and_one_that_refuses_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    with cluster(tmp_path, monkeypatch, instead=pods("exit 0")) as state:
        state.failing = [500, 429, 503]
        run()
        state.failing = [403]
        with pytest.raises(ValueError, match=r"403 told to fail .*needs create, get and delete on trainjobs"):
            run(name="train-2")
        monkeypatch.setattr("steps.train.launch.nodes._PATIENCE_SECONDS", 0.0)
        state.failing = [503]
        with pytest.raises(ValueError, match="did not answer GET"):
            run(name="train-3")
        (tmp_path / "account" / "token").write_text("old")
        with pytest.raises(ValueError, match="401 Unauthorized"):
            run(name="train-4")


def test_what_the_api_does_not_know_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    with cluster(tmp_path, monkeypatch):
        spec = json.loads(several_nodes())
        monkeypatch.setenv(SPEC, json.dumps({**spec, "trainer": {**spec["trainer"], "numNodez": 2}}))
        with pytest.raises(ValueError, match=r"422 unknown: \.spec\.trainer\.numNodez"):
            run()


def test_a_job_that_still_runs_is_watched_on_and_another_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with cluster(tmp_path, monkeypatch, instead=pods("sleep 1")) as state:
        first = threading.Thread(target=run)
        first.start()
        while not state.pods:
            time.sleep(0.01)
        run()
        first.join()
        assert state.starts == 1
        assert "it is watched on" in capfd.readouterr().err
        run("steps.train.other")
        assert state.starts == 2


def test_a_job_of_a_pod_that_is_gone_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    with cluster(tmp_path, monkeypatch, instead=pods("exit 0")) as state:
        run()
        old, state.instead = state.jobs["train-1"], pods("sleep 60")
        state.create({**old, "metadata": {"name": "train-2", "ownerReferences": [{"uid": "gone"}]}})
        while "train-2" not in state.pods:
            time.sleep(0.01)
        state.instead = pods("exit 0")
        run(name="train-2")
        assert state.starts == 3
        assert "ownerReferences" not in state.jobs["train-2"]["metadata"]


def test_sigterm_ends_the_job_and_its_pods_may_keep_what_they_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    keep = f'trap "touch {tmp_path}/kept-$PET_NODE_RANK; exit 143" TERM; touch {tmp_path}/$PET_NODE_RANK; '

    def stop() -> None:
        while not all((tmp_path / node).exists() for node in "01"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    with cluster(tmp_path, monkeypatch, instead=pods(keep + "while :; do sleep 0.05; done")) as state:
        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(InterruptedError, match="asked to stop"):
            run()
        stopper.join()
        assert not state.jobs
    assert all((tmp_path / f"kept-{node}").exists() for node in (0, 1))


def test_a_machine_that_is_no_pod_and_processes_that_do_not_divide_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TrainJob.described() is None
    job = TrainJob(json.loads(several_nodes()))
    work: dict[str, Any] = {"name": "n", "reports": tmp_path / "reports"}
    with pytest.raises(ValueError, match="from a pod with a service account"):
        job.run("m", [], num_processes=2, **work)
    with cluster(tmp_path, monkeypatch), pytest.raises(ValueError, match="3 processes cannot be divided over 2 nodes"):
        job.run("m", [], num_processes=3, **work)


def test_the_profile_says_how_many_processes_train() -> None:
    small = recipe("smoke")
    assert fitted(small, profile("gpu")) == small
    assert fitted(small, profile("multi-node")).train.num_processes == 16
    with pytest.raises(ValueError, match=r"train\.num_processes is 3, and the profile multi-node trains in 16"):
        fitted(recipe("smoke", {"train.num_processes": 3}), profile("multi-node"))
