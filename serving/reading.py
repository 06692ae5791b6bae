"""The tokenizers' threads: what waits is read a few texts at a time, off the event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rewardlab.tokens import TokenTree
from serving.served import TOKENIZING_THREADS, Item, Served
from serving.worker_threads import WorkerThreads

TURN_BYTES = 2**14
"""What a thread takes at a time, some 5 ms of work: it is dearer to wake a thread and the event loop for each text.
A longer text has a turn of its own."""

Read = tuple[TokenTree, bool] | ValueError


@dataclass(slots=True, eq=False)
class _Job:
    served: Served
    items: Sequence[Item]
    num_bytes: int
    done: "asyncio.Future[list[Read]]"
    found: list[Read] = field(default_factory=list)
    failed: Exception | None = None

    def read(self) -> None:
        try:
            self.found = [_read(self.served, item) for item in self.items]
        except Exception as error:  # it is the request's, not the thread's
            self.failed = error


class Readers(WorkerThreads):
    """Turns items into token trees. Its methods are for the event loop; only the reading runs elsewhere.

    Args:
        on_turn: told on the event loop of the CPU seconds of each turn of a thread.
    """

    def __init__(self, on_turn: Callable[[float], object]) -> None:
        super().__init__([f"tokenize-{number}" for number in range(TOKENIZING_THREADS)])
        self._on_turn = on_turn
        self._new: list[_Job] = []
        self._waiting: deque[_Job] = deque()

    def stop(self) -> None:
        """End the threads, each after the turn it is at; what waits is cancelled."""
        super().stop()
        for job in (*self._waiting, *self._new):
            job.done.cancel()

    def read(self, served: Served, items: Sequence[Item], num_bytes: int) -> "asyncio.Future[list[Read]]":
        """Return what will hold the tree of each item, or the reason why it cannot be read."""
        job = _Job(served, items, num_bytes, self._loop.create_future())
        if not self._new:
            self._loop.call_soon(self._hand_over)  # together with whoever else comes in this turn of the loop
        self._new.append(job)
        return job.done

    def _hand_over(self) -> None:
        with self._changed:
            self._waiting.extend(self._new)
            self._new.clear()
            self._changed.notify()

    def _process_batch(self) -> bool:
        jobs, cpu = self._next(), time.thread_time()
        if not jobs:
            return False
        for job in jobs:
            if not job.done.cancelled():
                job.read()
        self._loop.call_soon_threadsafe(self._deliver, jobs, time.thread_time() - cpu)
        return True

    def _next(self) -> list[_Job]:
        """Wait for work and return a turn of it; nothing when it is time to end."""
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return []
            jobs = [self._waiting.popleft()]
            room = TURN_BYTES - jobs[0].num_bytes
            while self._waiting and self._waiting[0].num_bytes <= room:
                room -= self._waiting[0].num_bytes
                jobs.append(self._waiting.popleft())
            if self._waiting:
                self._changed.notify()
            return jobs

    def _deliver(self, jobs: Sequence[_Job], cpu_seconds: float) -> None:
        self._on_turn(cpu_seconds)
        for job in jobs:
            if job.done.done():  # whoever asked has left
                continue
            if job.failed:
                job.done.set_exception(job.failed)
            else:
                job.done.set_result(job.found)


def _read(served: Served, item: Item) -> Read:
    try:
        return served.read(item)
    except ValueError as error:
        return error
