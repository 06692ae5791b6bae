"""The state of a training under way: checkpoints outside the artifacts, of which a damaged one is never used.

A checkpoint is a folder `step-NNNNNNNN` with tensors (safetensors) and everything else (JSON), whole or not there.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from filelock import FileLock, Timeout

from rewardlab.config import canonical_json
from rewardlab.files import atomic_path, file_digest

if TYPE_CHECKING:
    from torch import Tensor

_TENSORS, _FACTS = "state.safetensors", "state.json"


class Facts(TypedDict):
    """What a checkpoint holds as JSON; `best_step` is the step whose weights are the best, 0 if none.

    `rows` are those of the history, `losses` what came since the last of them, `schedule` and `scaler` torch's states.
    """

    step: int
    best_step: int
    rows: list[dict[str, float]]
    losses: list[float]
    schedule: dict[str, object]
    scaler: dict[str, object]


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold the folder of a training for this process alone, and clear what a killed one had half written.

    The lock is one of a file beside the folder: on NFS a lock of a folder holds on its own node alone.

    Raises:
        ValueError: another process trains the same.
    """
    state.mkdir(parents=True, exist_ok=True)
    lock = _lock(state)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(f"the same training is under way in another process, which keeps {state}") from error
    try:
        for half in state.glob(".*"):
            shutil.rmtree(half, ignore_errors=True)  # NFS keeps a removed file under another name while it is open
        yield
    finally:
        lock.release()


def idle(state: Path) -> bool:
    """Return whether no process holds the folder of a training."""
    try:
        with _lock(state):
            return True
    except Timeout:
        return False


def _lock(state: Path) -> FileLock:
    return FileLock(state.with_name(f"{state.name}.lock"), blocking=False)


class Checkpoints:
    """The checkpoints in a folder: the newest two, and the best that each of them knows of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, step: int) -> Path:
        """Return where the checkpoint of a step is."""
        return self._folder / f"step-{step:08d}"

    def write(self, step: int, tensors: Mapping[str, "Tensor"], facts: Facts) -> None:
        """Write a checkpoint so that it survives a crash at any moment, and drop those that are no longer needed.

        Args:
            step: the step it is of.
            tensors: what safetensors holds.
            facts: what JSON holds.
        """
        from safetensors.torch import save_file

        with atomic_path(self.path(step)) as scratch:
            scratch.mkdir()
            save_file(dict(tensors), scratch / _TENSORS)
            sealed = {"facts": facts, "digest": _digest(facts, scratch / _TENSORS)}
            (scratch / _FACTS).write_text(canonical_json(sealed), encoding="utf-8")
            for path in (scratch / _TENSORS, scratch / _FACTS, scratch):
                _sync(path)
        _sync(self._folder)
        newest = self._steps()[:2]
        needed = {*newest, *(self._read(each)["best_step"] for each in newest)}
        for other in self._steps():
            if other not in needed:
                shutil.rmtree(self.path(other))

    def newest(self) -> Facts | None:
        """Return the facts of the newest checkpoint that is whole, and whose best is; drop, and tell of, any other."""
        for step in self._steps():
            try:
                facts = self._read(step, verify=True)
                if facts["best_step"] not in (0, step):
                    self._read(facts["best_step"], verify=True)
            except (OSError, ValueError, KeyError) as error:
                print(f"checkpoint {self.path(step)} is damaged ({error}): the one before it is used", file=sys.stderr)
                shutil.rmtree(self.path(step))
                continue
            return facts
        return None

    def tensors(self, step: int) -> dict[str, "Tensor"]:
        """Return the tensors of a step's checkpoint."""
        from safetensors.torch import load_file

        return load_file(self.path(step) / _TENSORS)

    def _read(self, step: int, *, verify: bool = False) -> Facts:
        sealed = json.loads((self.path(step) / _FACTS).read_text(encoding="utf-8"))
        facts: Facts = sealed["facts"]
        if verify and sealed["digest"] != _digest(facts, self.path(step) / _TENSORS):
            raise ValueError("its digest is another")
        return facts

    def _steps(self) -> list[int]:
        """Return the steps that have a checkpoint, newest first."""
        return sorted((int(path.name.removeprefix("step-")) for path in self._folder.glob("step-*")), reverse=True)


def _digest(facts: Facts, tensors: Path) -> str:
    return hashlib.sha256((canonical_json(facts) + file_digest(tensors)).encode()).hexdigest()


def _sync(path: Path) -> None:
    """Have the disk keep a file's bytes, or a folder's names."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
