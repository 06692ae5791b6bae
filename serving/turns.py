"""Threads that take turns of work for the event loop."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence


class Turns(ABC):
    """Threads that take one turn after another until they are stopped.

    A subclass hands work over under `_changed`, and gives back what came of it by `_loop.call_soon_threadsafe`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]

    def start(self) -> None:
        """Start the threads; what they have done comes back on the running event loop."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads, each after the turn it is at."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident:
                thread.join()

    @abstractmethod
    def _turn(self) -> bool:
        """Wait for work, do it and keep no hold of it, as its model may be going; say whether there will be another."""

    def _run(self) -> None:
        while self._turn():
            pass
