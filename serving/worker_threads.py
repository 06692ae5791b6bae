"""Threads that work for the event loop, one batch of work after another."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence


class WorkerThreads(ABC):
    """Threads that process batches until they are stopped.

    A subclass hands work over under `_changed`, and returns results by `_loop.call_soon_threadsafe`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]

    def start(self) -> None:
        """Start the threads; their results come back on the running event loop."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads, each after the batch that it is at."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident:
                thread.join()

    @abstractmethod
    def _process_batch(self) -> bool:
        """Wait for a batch, process it, and drop all references to it: its model may be unloading.

        Return False to end the thread.
        """

    def _run(self) -> None:
        while self._process_batch():
            pass
