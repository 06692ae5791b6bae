"""The MLflow run of a training tells how it ended, however it ended."""

from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from steps.registry.client import connect
from steps.train.stop import StoppedError
from steps.train.tracking import Tracker
from tests.steps.test_train import configured


def status(tracker: Tracker) -> str:
    return str(connect().get_run(tracker.run_id).info.status)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [(None, "FINISHED"), (ValueError(), "FAILED"), (StoppedError(), "KILLED"), (KeyboardInterrupt(), "KILLED")],
)
def test_a_run_tells_how_its_training_ended(
    error: BaseException | None, wanted: str, registry: Path, tmp_path: Path
) -> None:
    tracker = Tracker(configured(), tmp_path / "note")
    assert status(tracker) == "RUNNING"
    with suppress(ValueError, StoppedError, KeyboardInterrupt), tracker:
        if error:
            raise error
    assert status(tracker) == wanted
    assert not (tmp_path / "note").exists()


def test_the_next_try_ends_the_run_of_one_that_was_killed_outright(registry: Path, tmp_path: Path) -> None:
    killed, other = Tracker(configured(), tmp_path / "note"), Tracker(configured(), tmp_path / "other")
    with Tracker(configured(), tmp_path / "note") as again:
        assert [status(each) for each in (killed, other, again)] == ["KILLED", "RUNNING", "RUNNING"]


def test_a_registry_that_is_lost_stops_no_training(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise MlflowException("lost")

    for method in ("log_batch", "set_terminated"):
        monkeypatch.setattr(MlflowClient, method, lost)
    with Tracker(configured(), tmp_path / "note") as tracker:
        tracker.log(3, {"loss": 1.0})
    assert capsys.readouterr().err.splitlines() == [
        "settings were not logged: lost",
        "metrics of step 3 were not logged: lost",
        "the end of training was not logged: lost",
    ]
