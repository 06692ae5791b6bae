"""Tokenizer threads: tokenize what waits in batches of a few texts, off the event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rewardlab.tokens import TokenTree
from serving.loaded_model import TOKENIZING_THREADS, Item, LoadedModel
from serving.worker_threads import WorkerThreads

BATCH_BYTES = 2**14
"""Text that a thread tokenizes at a time, some 5 ms of work: to wake a thread and the event loop for each text costs
more. A longer text is a batch of its own."""

Tokenized = tuple[TokenTree, bool] | ValueError


@dataclass(slots=True, eq=False)
class _Job:
    model: LoadedModel
    items: Sequence[Item]
    num_bytes: int
    done: "asyncio.Future[list[Tokenized]]"
    results: list[Tokenized] = field(default_factory=list)
    failed: Exception | None = None

    def tokenize(self) -> None:
        try:
            self.results = [_tokenize(self.model, item) for item in self.items]
        except Exception as error:  # it is the request's, not the thread's
            self.failed = error


class TokenizerThreads(WorkerThreads):
    """Turn items into token trees. The methods are for the event loop; only tokenizing runs in the threads.

    Args:
        on_batch: called on the event loop with the CPU seconds of a batch.
    """

    def __init__(self, on_batch: Callable[[float], object]) -> None:
        super().__init__([f"tokenize-{number}" for number in range(TOKENIZING_THREADS)])
        self._on_batch = on_batch
        self._new: list[_Job] = []
        self._waiting: deque[_Job] = deque()

    def stop(self) -> None:
        """End the threads, each after the batch that it is at; what waits is cancelled."""
        super().stop()
        for job in (*self._waiting, *self._new):
            job.done.cancel()

    def tokenize(self, model: LoadedModel, items: Sequence[Item], num_bytes: int) -> "asyncio.Future[list[Tokenized]]":
        """Return a future of the tree of each item, or of the reason why it cannot be tokenized."""
        job = _Job(model, items, num_bytes, self._loop.create_future())
        if not self._new:
            self._loop.call_soon(self._hand_over)  # with what other requests add in this round of the event loop
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
                job.tokenize()
        self._loop.call_soon_threadsafe(self._deliver, jobs, time.thread_time() - cpu)
        return True

    def _next(self) -> list[_Job]:
        """Wait for work and return a batch of it; an empty one when it is time to end."""
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return []
            jobs = [self._waiting.popleft()]
            room = BATCH_BYTES - jobs[0].num_bytes
            while self._waiting and self._waiting[0].num_bytes <= room:
                room -= self._waiting[0].num_bytes
                jobs.append(self._waiting.popleft())
            if self._waiting:
                self._changed.notify()
            return jobs

    def _deliver(self, jobs: Sequence[_Job], cpu_seconds: float) -> None:
        self._on_batch(cpu_seconds)
        for job in jobs:
            if job.done.done():  # cancelled: the request has ended
                continue
            if job.failed:
                job.done.set_exception(job.failed)
            else:
                job.done.set_result(job.results)


def _tokenize(model: LoadedModel, item: Item) -> Tokenized:
    try:
        return model.tokenize(item)
    except ValueError as error:
        return error
