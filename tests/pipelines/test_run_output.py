"""What people see of a run while it goes, and what is kept of what was printed."""

import io
from pathlib import Path
from typing import Any

from pipelines.local.run_output import RunOutput
from steps.common.run_record import StepRecord

TIMES: dict[str, Any] = {"started": "", "ended": "", "seconds": 1.25}


def test_steps_are_shown_as_they_start_and_end(tmp_path: Path) -> None:
    shown = io.StringIO()
    with RunOutput(tmp_path, shown) as output:
        output.start("train")
        output.end(StepRecord(name="train", **TIMES))
        output.end(StepRecord(name="split", reused=True, **TIMES))
        output.end(StepRecord(name="gate", error="no", **TIMES))
    assert shown.getvalue().splitlines() == [
        "  train ...",
        "  train      done in 1.2 s",
        "  split      reused",
        "  gate       FAILED in 1.2 s",
    ]


def test_what_is_printed_is_kept_and_progress_is_shown(tmp_path: Path) -> None:
    shown = io.StringIO()
    with RunOutput(tmp_path, shown) as output:
        output.write("before  10%|# | 1/10 [00:01\n")
        output.start("train")
        for piece in ("    train:  50%|#####", "     | 5/10 [00:01<00:01]\n    chatter\n"):
            output.write(piece)
    assert "train: train:  50%|#####     | 5/10" in shown.getvalue()
    assert "chatter" not in shown.getvalue()
    assert "before" not in shown.getvalue()
    assert (tmp_path / "log.txt").read_text().splitlines()[1:] == [
        "    train:  50%|#####     | 5/10 [00:01<00:01]",
        "    chatter",
    ]
