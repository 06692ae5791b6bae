"""What the watch reads from kfp's log: seconds, reuse, and why a step failed."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from pipelines.local.kfp_log import Watch
from rewardlab.files import read_json

START = "04:11:44.9 - INFO - Executing task \x1b[96m'{}'\x1b[0m\n"
END = "04:11:45.0 - INFO - Task \x1b[96m'{}'\x1b[0m finished with status \x1b[91m{}\x1b[0m\n"
REUSED = "Task {} cache hit (key=2bc8ca3fea2a); skipping execution.\n"


def watched(folder: Path, *pieces: str) -> Watch:
    with Watch(folder, io.StringIO()) as watch:
        for piece in pieces:
            watch.write(piece)
    return watch


def failed(folder: Path, *lines: str) -> str:
    watch = watched(folder, START.format("train"), *(f"    {line}\n" for line in lines), END.format("train", "FAILURE"))
    return watch.failed["train"]


def test_it_notes_what_ran_and_what_was_reused(tmp_path: Path) -> None:
    done = "".join((START.format("fetch"), "text\n", END.format("fetch", "SUCCESS")))
    watch = watched(tmp_path, done, REUSED.format("ingest"), REUSED.format("split"))
    assert (list(watch.seconds), watch.reused, watch.failed) == (["fetch"], ["ingest", "split"], {})
    notes = {"seconds": watch.seconds, "reused": watch.reused, "failed": {}}
    assert read_json(tmp_path / "steps.json") == notes
    assert "Executing task" in (tmp_path / "log.txt").read_text()


def test_pieces_of_lines_are_put_together(tmp_path: Path) -> None:
    text = START.format("fetch") + END.format("fetch", "FAILURE")
    assert watched(tmp_path, *text).failed == {"fetch": "it stopped without an error message, see log.txt"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ValueError: there is no data at x: give a path", "there is no data at x: give a path"),
        ("steps.train.marker.DivergedError: the loss is nan", "DivergedError: the loss is nan"),
        ("KeyError: 'x'", "KeyError: 'x'"),
        ("MemoryError", "MemoryError"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_the_last_error_is_the_reason(line: str, reason: str, tmp_path: Path) -> None:
    assert failed(tmp_path, "OSError: first", "  raise ValueError(text)", line, "ends") == reason


def test_a_message_of_several_lines_is_kept_whole(tmp_path: Path) -> None:
    lines = ("ValueError: the data are refused:", "  quarantined: 3 empty", "    of 9", "", "  not of it", "ends")
    assert failed(tmp_path, *lines) == "the data are refused:\n  quarantined: 3 empty\n  of 9"
    assert failed(tmp_path, "OSError: a", "  b", "ValueError: c", "  d") == "c\n  d"


def test_an_error_of_another_step_is_not_blamed(tmp_path: Path) -> None:
    first = START.format("fetch") + "OSError: retried\n" + END.format("fetch", "SUCCESS")
    second = START.format("train") + END.format("train", "FAILURE")
    assert "without an error message" in watched(tmp_path, first, second).failed["train"]


def test_one_reason_is_named_once(tmp_path: Path) -> None:
    steps = (START.format(step) + "ValueError: no registry\n" + END.format(step, "FAILURE") for step in ("a", "report"))
    assert watched(tmp_path, *steps).failed == {"a": "no registry"}


def test_a_step_that_runs_at_the_end_was_interrupted(tmp_path: Path) -> None:
    watched(tmp_path, START.format("train"), "working")
    assert list(read_json(tmp_path / "steps.json")["failed"]) == ["train"]


def test_progress_is_shown(tmp_path: Path) -> None:
    shown = io.StringIO()
    with Watch(tmp_path, shown) as watch:
        watch.write(START.format("train") + "    train:  50%|#####     | 5/10 [00:01<00:01]\n    chatter\n")
    assert "train: train:  50%" in shown.getvalue()
    assert "chatter" not in shown.getvalue()


def test_a_killed_step_is_a_failed_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kfp import dsl, local

    from components import component
    from pipelines.local.run import _logged

    @component
    def dies(signal: int) -> str:
        import os

        os.kill(os.getpid(), signal)
        return "never"

    @dsl.pipeline  # type: ignore[untyped-decorator]
    def deadly() -> None:
        dies(signal=9)

    local.init(
        runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "steps"), raise_on_error=False
    )
    with Watch(tmp_path, io.StringIO()) as watch, redirect_stdout(watch), _logged(watch):
        deadly()
    assert watch.failed == {"dies": "it stopped without an error message, see log.txt"}
