"""The record of a run on this machine: how each of its steps went, in `steps.json` in the run's folder.

Two processes know what happened. The runner knows when a step started and ended, what it wrote and whether it was
reused; it writes the record. The step's own process knows why it failed, and leaves that in the folder for the runner.
A cluster has no such folder: there the reason is kept with the run in the registry.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Self

from rewardlab.config import Config
from rewardlab.files import read_json, write_json
from rewardlab.layout import RUN_RECORD, STEP_ERROR
from steps.common.credentials import take_s3_credentials
from steps.registry.step_failures import forget_failure, note_failure

RUN_FOLDER = "REWARDLAB_RUN_FOLDER"
"""The variable that tells a step the folder of its run; a cluster does not set it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord(Config):
    """How a step went: when, what it wrote or took from the cache, and why it failed if it did.

    `outputs` are the paths of artifacts by name. `started` and `ended` are times in ISO 8601.
    """

    name: str
    started: str
    ended: str
    seconds: float
    reused: bool = False
    outputs: dict[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord(Config):
    """The steps of a run in the order in which they ended."""

    steps: tuple[StepRecord, ...] = ()

    @classmethod
    def read(cls, run_folder: Path) -> Self:
        """Return the record in a run's folder; it is empty where there is none, or one of version 0.1."""
        file = run_folder / RUN_RECORD
        return cls.from_dict({"steps": read_json(file).get("steps", [])}) if file.is_file() else cls()

    def write(self, run_folder: Path) -> None:
        """Write the record into a run's folder."""
        write_json(run_folder / RUN_RECORD, self.to_dict())

    @property
    def seconds(self) -> dict[str, float]:
        """Return how long each step took that was not reused."""
        seconds: dict[str, float] = {}
        for step in self.steps:
            if not step.reused:
                seconds[step.name] = round(seconds.get(step.name, 0.0) + step.seconds, 2)
        return seconds

    @property
    def reused(self) -> list[str]:
        """Return the steps whose outputs were taken from the cache."""
        return [step.name for step in self.steps if step.reused]

    @property
    def failed(self) -> dict[str, str]:
        """Return why steps failed.

        One reason is named once: `report` may fail for the reason that another step failed for.
        """
        failed: dict[str, str] = {}
        for step in self.steps:
            if step.error is not None and step.error not in failed.values():
                failed[step.name] = step.error
        return failed


@contextmanager
def recorded() -> Iterator[None]:
    """Leave the reason where the run's report finds it if the block, which is the work of a step, fails."""
    take_s3_credentials()
    try:
        yield
    except BaseException as error:
        reason = error_text(error)
        if folder := os.environ.get(RUN_FOLDER):
            with suppress(OSError):  # such as a full disk, which may be what the step failed for
                (Path(folder) / STEP_ERROR).write_text(reason, encoding="utf-8", errors="backslashreplace")
        note_failure(reason)
        raise
    forget_failure()


def take_error(run_folder: Path) -> str | None:
    """Return the reason that a failed step left, if it did, and remove it."""
    file = run_folder / STEP_ERROR
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    file.unlink()
    return text


def error_text(error: BaseException) -> str:
    r"""Return what an error says: its first line, and the lines indented below it.

    Messages of ValueError are written for people; other errors need their name.

    Example:
        >>> error_text(ValueError("the data are refused:\n    3 are empty\nsee the log"))
        'the data are refused:\n  3 are empty'
        >>> error_text(KeyError("x")), error_text(MemoryError())
        ("KeyError: 'x'", 'MemoryError')
    """
    kind = type(error).__name__
    first, *rest = str(error).splitlines() or [""]
    below = takewhile(lambda line: line.startswith("  "), rest)
    text = "\n  ".join([first.strip(), *(line.strip() for line in below)])
    if not text:
        return kind
    return text if kind == "ValueError" else f"{kind}: {text}"
