"""Record how each step of a local run goes, as kfp executes it or takes it from its cache."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.local.run_output import RunOutput
from rewardlab.files import read_json
from rewardlab.layout import LOG, report_paths
from steps.common.run_record import RunRecord, StepRecord, error_text, take_error


@dataclass(slots=True)
class _Task:
    """A task that kfp is at: whether it was executed, and why it failed if its own process could not say."""

    name: str
    executed: bool = False
    error: str | None = None


_TASK: ContextVar[_Task] = ContextVar("task")


class Recorder:
    """Writes the record of a run as its steps end, and shows them on the terminal."""

    def __init__(self, run_folder: Path, output: RunOutput) -> None:
        self._run_folder = run_folder
        self._output = output
        self._steps: list[StepRecord] = []

    @contextmanager
    def following(self) -> Iterator[None]:
        """Record every task of the pipelines that kfp runs while the block lasts.

        kfp's local runner tells nobody what it does but its log. These are the two of its functions that every task
        goes through: one looks into the cache, the other executes what is not there.
        """
        from kfp.local import task_dispatcher
        from kfp.local.orchestrator import task_executor

        task = partial(self._task, task_executor.execute_single_task)
        execution = partial(self._execution, task_dispatcher.run_single_task_implementation)
        with (
            replaced(task_executor, "execute_single_task", task),
            replaced(task_dispatcher, "run_single_task_implementation", execution),
        ):
            yield

    def _task(self, kfps: Callable[..., Any], **call: Any) -> Any:
        """Let kfp do a task, and record how it went."""
        task, start, started = _Task(call["task_name"]), time.monotonic(), _now()
        token = _TASK.set(task)
        outputs: Mapping[str, Any] = {}
        failure: str | None = f"it stopped without an error message, see {LOG}"
        try:
            outputs, status = kfps(**call)
            if status.name == "SUCCESS":
                failure = None
            return outputs, status
        except BaseException as error:
            failure = error_text(error)
            raise
        finally:
            _TASK.reset(token)
            said = take_error(self._run_folder)  # by the step itself; by an earlier try of it where it has succeeded
            record = StepRecord(
                name=task.name,
                started=started,
                ended=_now(),
                seconds=round(time.monotonic() - start, 2),
                reused=failure is None and not task.executed,
                outputs=_artifacts(outputs),
                error=failure and (said or task.error or failure),
            )
            self._add(record)

    def _execution(self, kfps: Callable[..., Any], **call: Any) -> Any:
        """Let kfp execute a task that is not in its cache."""
        if task := _TASK.get(None):
            task.executed = True
            self._output.start(task.name)
        return kfps(**call)

    def _add(self, record: StepRecord) -> None:
        self._steps.append(record)
        RunRecord(steps=tuple(self._steps)).write(self._run_folder)
        self._output.end(record)


def blame(reason: str) -> None:
    """Note why the task that kfp is at fails, where the step's own process cannot leave its reason."""
    if task := _TASK.get(None):
        task.error = reason


def evidence(run_folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the reports that the steps of a run have written or taken from the cache, by name."""
    reports = {}
    for step in RunRecord.read(run_folder).steps:
        for name, file in report_paths(step.outputs).items():
            if file.is_file():
                reports[name] = read_json(file)
    return reports


@contextmanager
def replaced(module: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Put a function in the place of one of kfp's, which its callers look up in a module and call by keywords."""
    kfps = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, kfps)


def _artifacts(outputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the paths of the artifacts among a task's outputs, by name."""
    from kfp import dsl

    return {name: value.uri for name, value in outputs.items() if isinstance(value, dsl.Artifact)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
