"""The record of a run: what kfp executed, reused and failed, without a look into its log."""

import io
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kfp import dsl, local

from components import component
from pipelines.local import record
from pipelines.local.containers import run_container
from pipelines.local.record import Recorder, evidence
from pipelines.local.run import _logged
from pipelines.local.run_output import RunOutput
from rewardlab.files import read_json, write_json
from rewardlab.layout import LOG, RUN_RECORD
from steps.common.run_record import RUN_FOLDER, RunRecord, StepRecord, error_text, recorded, take_error

UNSAID = f"it stopped without an error message, see {LOG}"


@component
def split(splits: dsl.Output[dsl.Dataset]) -> str:
    from pathlib import Path

    from steps.common.run_record import recorded

    with recorded():
        Path(splits.path).mkdir()
        (Path(splits.path) / "split.json").write_text('{"num_test": 1}')
        return "digest"


@component
def fails(kind: str) -> str:
    import os

    from steps.common.run_record import recorded

    with recorded():
        if kind == "killed":
            os.kill(os.getpid(), 9)
        raise ValueError("the data are refused:\n    3 are empty")


@component
def leaves(text: str) -> str:
    """Leave a reason as a step does that fails, and succeed."""
    import os
    from pathlib import Path

    (Path(os.environ["REWARDLAB_RUN_FOLDER"]) / "error.txt").write_text(text)
    return text


@dsl.pipeline  # type: ignore[untyped-decorator]
def good() -> None:
    split()
    leaves(text="x").set_caching_options(False)


@dsl.pipeline  # type: ignore[untyped-decorator]
def bad(kind: str) -> None:
    with dsl.ExitHandler(leaves(text="x").set_caching_options(False)):
        fails(kind=kind).after(split())


@pytest.fixture(scope="module")
def follow(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunRecord]:
    """Return a function that runs a pipeline with one cache for all, and returns its record."""
    home = tmp_path_factory.mktemp("home")
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(home / "steps"),
        raise_on_error=False,
        enable_caching=True,
        cache_root=str(home / "cache"),
    )

    def run(folder: Path, pipeline: Any, **arguments: str) -> RunRecord:
        with pytest.MonkeyPatch.context() as patch, RunOutput(folder, io.StringIO()) as output:
            patch.setenv(RUN_FOLDER, str(folder))
            patch.setenv("PYTHONWARNINGS", "ignore")
            with redirect_stdout(output), _logged(output), Recorder(folder, output).following():
                pipeline(**arguments)
        return RunRecord.read(folder)

    return run


def step(name: str, **more: Any) -> StepRecord:
    return StepRecord(name=name, started="", ended="", **{"seconds": 1.0, **more})


def test_what_is_made_and_what_is_reused(follow: Callable[..., RunRecord], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, second = follow(tmp_path / "one", good), follow(tmp_path / "two", good)
    assert (set(first.seconds), first.reused, first.failed) == ({"split", "leaves"}, [], {})
    assert (list(second.seconds), second.reused, second.failed) == (["leaves"], ["split"], {})
    (made,) = (each for each in first.steps if each.name == "split")
    (reused,) = (each for each in second.steps if each.name == "split")
    assert made.outputs == reused.outputs
    assert Path(made.outputs["splits"]).is_dir()
    assert datetime.fromisoformat(made.started) < datetime.fromisoformat(made.ended)
    assert evidence(tmp_path / "one") == evidence(tmp_path / "two") == {"split": {"num_test": 1}}
    assert not (tmp_path / "one" / "error.txt").exists()
    assert "Executing task" in (tmp_path / "one" / LOG).read_text()


@pytest.mark.parametrize(("kind", "reason"), [("refused", "the data are refused:\n  3 are empty"), ("killed", UNSAID)])
def test_a_step_that_fails(kind: str, reason: str, follow: Callable[..., RunRecord], tmp_path: Path) -> None:
    found = follow(tmp_path, bad, kind=kind)
    assert found.failed == {"fails": reason}
    assert {each.name: each.error for each in found.steps}["leaves"] is None  # which runs as the exit handler
    assert evidence(tmp_path) == {"split": {"num_test": 1}}


def test_kfps_functions_are_what_they_were(follow: Callable[..., RunRecord], tmp_path: Path) -> None:
    from kfp.local import task_dispatcher
    from kfp.local.orchestrator import task_executor

    before = (task_executor.execute_single_task, task_dispatcher.run_single_task_implementation)
    with RunOutput(tmp_path, io.StringIO()) as output, Recorder(tmp_path, output).following():
        assert task_executor.execute_single_task is not before[0]
    assert (task_executor.execute_single_task, task_dispatcher.run_single_task_implementation) == before


def test_an_interrupted_step_is_recorded(tmp_path: Path) -> None:
    from kfp.local.orchestrator import task_executor

    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    with RunOutput(tmp_path, io.StringIO()) as output, pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_executor, "execute_single_task", interrupted)
        with Recorder(tmp_path, output).following(), pytest.raises(KeyboardInterrupt):
            task_executor.execute_single_task(task_name="train")
    assert RunRecord.read(tmp_path).failed == {"train": "KeyboardInterrupt"}


class _Container:
    """A container that a signal ends."""

    def start(self) -> None: ...

    def logs(self, **_: Any) -> list[bytes]:
        return [b"working\n"]

    def wait(self) -> dict[str, int]:
        return {"StatusCode": 137}

    def remove(self, **_: Any) -> None: ...


def test_a_container_that_is_killed_is_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    client = SimpleNamespace(containers=SimpleNamespace(create=lambda **_: _Container()))
    task = record._Task("train")
    token = record._TASK.set(task)
    assert run_container(client, "image", [], {}, mem_limit="60m") == 137
    record._TASK.reset(token)
    assert task.error is not None
    assert task.error.startswith("RuntimeError: its container was ended by signal 9; did it want more than 60m")
    assert task.error in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("there is no data at x: give a path"), "there is no data at x: give a path"),
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "MemoryError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("refused:\n  quarantined: 3\n    of 9\n\n  not of it"), "refused:\n  quarantined: 3\n  of 9"),
        (OSError("a\nb"), "OSError: a"),
    ],
)
def test_an_error_is_said_for_people(error: BaseException, text: str) -> None:
    assert error_text(error) == text


def test_a_step_leaves_its_reason_where_there_is_a_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        with recorded():
            raise ValueError("a letter cut in two: \ud800")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    with pytest.raises(ValueError, match="a letter"):
        fail()  # as on a cluster
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="a letter"):
        fail()
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path))
    with pytest.raises(ValueError, match="a letter"):
        fail()
    assert take_error(tmp_path) == "a letter cut in two: \\ud800"
    assert take_error(tmp_path) is None


def test_the_record_sums_up() -> None:
    steps = (step("a"), step("b", reused=True), step("a", seconds=0.25), step("c", error="no"), step("d", error="no"))
    found = RunRecord(steps=steps)
    assert (found.seconds, found.reused, found.failed) == ({"a": 1.25, "c": 1.0, "d": 1.0}, ["b"], {"c": "no"})


def test_a_record_is_read_back_and_one_of_the_last_version_is_empty(tmp_path: Path) -> None:
    assert RunRecord.read(tmp_path) == RunRecord()
    found = RunRecord(steps=(step("a", outputs={"model": "/m"}, error="no"),))
    found.write(tmp_path)
    assert RunRecord.read(tmp_path) == found
    assert os.listdir(tmp_path) == [RUN_RECORD]
    write_json(tmp_path / RUN_RECORD, {"seconds": {"a": 1.0}, "reused": [], "failed": {}})
    assert RunRecord.read(tmp_path) == RunRecord()
    assert read_json(tmp_path / RUN_RECORD)["reused"] == []
