"""Follow an alias: load its version beside the one in service, try it, and swap between two batches."""

import asyncio
import contextlib
import ctypes
import gc
import os
import shutil
import tempfile
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rewardlab.mlflow_rest import RestRegistry, Version
from rewardlab.references import ADDRESS
from serving.loaded_model import LoadedModel, LoadOptions
from serving.logs import log
from serving.scorer import Scorer

NICENESS = 5
"""A version is loaded and tried by a thread that gives way to those that answer requests."""


def load(
    registry: RestRegistry, version: Version, *, options: LoadOptions, before: LoadedModel | None = None
) -> LoadedModel:
    """Return a version as a model whose golden texts have been scored as they were sealed.

    Its files go when the model does; `before` is the one that it is loaded beside.

    Raises:
        ValueError: the bundle cannot be had, is damaged, scores otherwise, or may not be opened.
    """
    folder = Path(tempfile.mkdtemp(prefix="rewardlab-"))
    try:
        registry.fetch(version, folder / "bundle")
        name, number = version.name, version.number
        model = LoadedModel.load(folder / "bundle", name=name, version=number, before=before, options=options)
        model.engine.check_golden()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    return model


class Follower:
    """Keeps a scorer at the version that an alias names.

    A version that cannot be loaded leaves the one before in service, and `problem` says why until the alias names
    another or the registry can be reached again.
    """

    def __init__(
        self, registry: RestRegistry, address: str, scorer: Scorer, *, seconds: float, options: LoadOptions
    ) -> None:
        if "@" not in address or not ADDRESS.fullmatch(address):
            raise ValueError(f"an alias is followed, models:/NAME@ALIAS, got {address!r}")
        self.address = address
        self._registry = registry
        self._scorer = scorer
        self._seconds = seconds
        self._load_options = options
        self._refused: tuple[Version, str] | None = None

    async def run(self) -> None:
        """Look every so many seconds, for ever."""
        thread = ThreadPoolExecutor(1, "follower", initializer=_give_way)
        try:
            while True:
                await asyncio.sleep(self._seconds)
                await asyncio.get_running_loop().run_in_executor(thread, self.step)
        finally:
            thread.shutdown(wait=False)

    def step(self) -> None:
        """Look once, and swap if the alias names another version."""
        try:
            version = self._registry.find(self.address)
            if version.number == self._scorer.model.version:
                self._scorer.follow_problem = None
                return
            if self._refused and self._refused[0] == version:
                self._scorer.follow_problem = self._refused[1]
                return
        except Exception as error:  # whatever the registry does, the model in service goes on
            self._scorer.follow_problem = f"{self.address} cannot be followed: {error}"
            log.warning("%s", self._scorer.follow_problem)
            return
        self._swap(version)

    def _swap(self, version: Version) -> None:
        label = f"{version.name}/{version.number}"
        try:
            model = load(self._registry, version, before=self._scorer.model, options=self._load_options)
        except Exception as error:
            why = f"{label} is not served, {self._scorer.model.label} still is: {error}"
            self._refused = (version, why)
            self._scorer.follow_problem = why
            log.error("%s", why)
            return
        before = self._scorer.swap(model)
        self._scorer.follow_problem = None
        log.warning("%s is served, after %s", label, before)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what the model before leaves free goes back to the system


def _give_way() -> None:
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):  # where threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
