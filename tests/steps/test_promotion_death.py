"""Registration and promotion on a real MLflow registry, killed and held up before each call to it."""

import inspect
import itertools
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from rewardlab.layout import GATE_REPORT
from rewardlab.promotion import client_log, report_digest
from steps.promote import PromoteReport, promote
from steps.register import RegisterConfig, register
from steps.registry.client import RegistryStore, champion_record, connect, stored_json
from tests.gated import crown, report, sealed

FEW = 4


@contextmanager
def stopping(step: Callable[[], None]) -> Iterator[None]:
    """Call `step` before each call of an MLflow client, those within another left out."""
    within = threading.local()

    def stopped(method: Any) -> Any:
        @wraps(method)
        def call(*arguments: Any, **named: Any) -> Any:
            if getattr(within, "call", False):
                return method(*arguments, **named)
            step()
            within.call = True
            try:
                return method(*arguments, **named)
            finally:
                within.call = False

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name, method in inspect.getmembers(MlflowClient, inspect.isfunction):
            if not name.startswith("_"):
                patch.setattr(MlflowClient, name, stopped(method))
        yield


class Candidate:
    """A bundle that passed the gate against the champion `m/1`, in a registry of its own."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder, self.bundle = folder, bundle
        self.gate = report(folder, bundle, champion="m/1")
        record = champion_record(connect(), "m")
        assert record is not None
        self.champion = record.to_json()

    def run(self) -> PromoteReport:
        """Register and promote, as two steps of a run do; called again after a death."""
        config = RegisterConfig(name="m", run_id="run", lineage={"recipe": "smoke"}, data_md5="md5")
        label = register(config, self.bundle, {"gate": self.gate}).label
        return promote("run", label, self.gate, self.champion)

    def run_and_die(self, after: int, told: Path) -> bool:
        """Do it in a process that is killed before a call to the registry; return whether it was.

        One that was not killed writes the number of its calls.
        """
        child = os.fork()
        if child == 0:
            calls = itertools.count()
            with stopping(lambda: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == after else None):
                self.run()
            told.write_text(str(next(calls)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.fixture(scope="module")
def crowned(registry_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], None]]:
    """Return a function that makes a fresh copy of a registry with the champion `m/1` the registry to use."""
    first = tmp_path_factory.mktemp("crowned")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)

        def use(home: Path) -> None:
            patch.setenv("REWARDLAB_HOME", str(home))

        use(shutil.copytree(registry_template, first / "home"))
        crown(first, sealed(first / "bundle", "the first"))
        numbers = itertools.count()

        def fresh() -> None:
            use(shutil.copytree(first / "home", first / f"home-{next(numbers)}"))

        yield fresh


def passing(name: str) -> list[str]:
    """Return the versions that have been champion, each by a passing report that the registry keeps."""
    entries = client_log(connect(), name).accepted("champion")
    for entry in entries:
        kept = stored_json(connect(), entry.run, GATE_REPORT)
        assert kept is not None
        assert (kept["verdict"], kept["bundle"], report_digest(kept)) == ("pass", entry.bundle, entry.report)
    return [entry.version for entry in entries]


@pytest.fixture
def candidate(crowned: Callable[[], None], tmp_path: Path) -> Candidate:
    crowned()
    return Candidate(tmp_path, sealed(tmp_path / "bundle", "the second"))


def num_calls(candidate: Candidate, crowned: Callable[[], None], folder: Path) -> int:
    """Return how often registration and promotion call the registry."""
    crowned()  # a database that this process has open may not be used behind a fork
    assert not candidate.run_and_die(-1, folder / "calls")
    return int((folder / "calls").read_text())


def die_and_recover(candidate: Candidate, crowned: Callable[[], None], points: range) -> None:
    for after in points:
        crowned()
        assert candidate.run_and_die(after, candidate.folder / "calls")
        assert passing("m") in (["1"], ["1", "2"])
        assert candidate.run().decision == "promoted"
        assert passing("m") == ["1", "2"]
        aliases = RegistryStore(connect()).aliases("m")
        assert aliases == {"champion": "2", "previous": "1"}
        assert len(connect().search_model_versions("name = 'm'")) == 2


@pytest.mark.slow
def test_a_run_that_was_killed_recovers(candidate: Candidate, crowned: Callable[[], None], tmp_path: Path) -> None:
    total = num_calls(candidate, crowned, tmp_path)
    assert total >= 30
    die_and_recover(candidate, crowned, range(total - 1, 0, -total // FEW))


@pytest.mark.slow
def test_a_run_that_was_killed_anywhere_recovers(
    candidate: Candidate, crowned: Callable[[], None], tmp_path: Path
) -> None:
    die_and_recover(candidate, crowned, range(num_calls(candidate, crowned, tmp_path)))


def hold_up(candidate: Candidate, crowned: Callable[[], None], points: range, third: Path) -> None:
    """Hold a run before a call while another is promoted; then let it go on: the later one stays champion."""
    for at in points:
        crowned()
        held, go_on, calls = threading.Event(), threading.Event(), itertools.count()

        def step(at: int = at, calls: Any = calls, held: Any = held, go_on: Any = go_on) -> None:
            if threading.current_thread() is not threading.main_thread() and next(calls) == at:
                held.set()
                go_on.wait()

        told: list[PromoteReport] = []
        with stopping(step):
            thread = threading.Thread(target=lambda told=told: told.append(candidate.run()))
            thread.start()
            while thread.is_alive() and not held.wait(0.05):
                pass
            now = client_log(connect(), "m").head("champion")
            assert now is not None
            later = crown(candidate.folder / "later", third, champion=f"m/{now.version}")
            go_on.set()
            thread.join()
        log = client_log(connect(), "m")
        assert log.projection()["champion"] == later.rpartition("/")[2]
        assert RegistryStore(connect()).aliases("m") == log.projection()
        assert told[0].decision == ("promoted" if now.version == "2" else "rejected")


@pytest.mark.slow
def test_a_run_that_was_held_up_undoes_nothing(
    candidate: Candidate, crowned: Callable[[], None], tmp_path: Path
) -> None:
    total = num_calls(candidate, crowned, tmp_path)
    hold_up(candidate, crowned, range(total - 2, 0, -total // FEW), sealed(tmp_path / "third", "x"))


@pytest.mark.slow
def test_a_run_that_was_held_up_anywhere_undoes_nothing(
    candidate: Candidate, crowned: Callable[[], None], tmp_path: Path
) -> None:
    hold_up(candidate, crowned, range(num_calls(candidate, crowned, tmp_path)), sealed(tmp_path / "third", "x"))
