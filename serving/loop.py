"""The engine's threads: each takes a batch as soon as it has none, and none of them ever dies of one."""

import threading
import time
from collections.abc import Callable, Sequence

from serving.loaded_model import LoadedModel
from serving.logs import log
from serving.queue import BatchCost, Ids, Key, Leaf, Outcome, Pending, Queue, price, trees
from serving.worker_threads import WorkerThreads

LONGEST_BATCH_SECONDS = 120
"""A batch that takes longer hangs, and the server says that it is not alive."""

OnBatch = Callable[[Sequence[Leaf], Sequence[Outcome], BatchCost], object]


class EngineLoop(WorkerThreads):
    """Scores leaves in batches. Its methods are for the event loop; only the batches run elsewhere.

    Each thread runs one forward pass on one core: two passes at a time are faster than one pass on two cores.

    Args:
        threads: how many batches are scored at a time.
        on_batch: told on the event loop of each batch, its outcomes and its cost.
    """

    def __init__(self, threads: int, on_batch: OnBatch) -> None:
        super().__init__([f"engine-{number}" for number in range(threads)])
        self._on_batch = on_batch
        self._queue = Queue()
        self._flight: dict[Key, Leaf] = {}
        self._running: dict[int, tuple[float, int]] = {}

    @property
    def outstanding(self) -> int:
        """Return the tokens that wait or are being computed."""
        return self._queue.tokens + sum(tokens for _, tokens in tuple(self._running.values()))

    @property
    def dead(self) -> str | None:
        """Return why nothing more can be expected of the threads; None while it can."""
        now = time.monotonic()
        if any(now - since > LONGEST_BATCH_SECONDS for since, _ in tuple(self._running.values())):
            return f"the engine has been at one batch for over {LONGEST_BATCH_SECONDS} s"
        if not self._stopping and any(thread.ident and not thread.is_alive() for thread in self._threads):
            return "a thread of the engine has ended"
        return None

    def submit(self, model: LoadedModel, sequences: Sequence[tuple[Ids, Ids]]) -> Pending:
        """Queue responses to prompts; what is in work already is not queued again."""
        pending = Pending(len(sequences))
        with self._changed:
            for index, (prompt, response) in enumerate(sequences):
                leaf = Leaf(model, prompt, response)
                if known := self._flight.get(leaf.key):
                    leaf = known
                else:
                    self._flight[leaf.key] = leaf
                    self._queue.add(leaf)
                leaf.waiting.append((pending, index))
                pending.leaves.append(leaf)
            self._changed.notify(len(self._threads))
        return pending

    def abandon(self, pending: Pending) -> None:
        """Compute no more of what nobody else waits for."""
        with self._changed:
            for leaf in pending.leaves:
                leaf.waiting = [entry for entry in leaf.waiting if entry[0] is not pending]
                if not leaf.waiting and self._queue.discard(leaf):
                    del self._flight[leaf.key]

    def _process_batch(self) -> bool:
        me = threading.get_ident()
        batch = self._next(me)
        if not batch:
            return False
        started, cpu = time.perf_counter(), time.thread_time()
        outcomes = score(batch)
        seconds, cpu_seconds = time.perf_counter() - started, time.thread_time() - cpu
        _, tokens = self._running.pop(me)
        self._loop.call_soon_threadsafe(self._settle, batch, outcomes, BatchCost(tokens, seconds, cpu_seconds))
        return True

    def _next(self, me: int) -> list[Leaf]:
        """Wait for work and return a batch; an empty one when it is time to end."""
        with self._changed:
            while not self._queue and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return []
            batch = self._queue.take()
            self._running[me] = (time.monotonic(), price(batch))
            return batch

    def _settle(self, batch: Sequence[Leaf], outcomes: Sequence[Outcome], cost: BatchCost) -> None:
        for leaf, outcome in zip(batch, outcomes, strict=True):
            self._flight.pop(leaf.key, None)
            for pending, index in leaf.waiting:
                pending.settle(index, outcome)
            leaf.waiting = []  # they refer to each other, and would outlive their model
        self._on_batch(batch, outcomes, cost)


def score(batch: Sequence[Leaf]) -> list[Outcome]:
    """Return the outcome of each leaf; one that the engine fails on takes no other with it."""
    try:
        return _rewards(batch)
    except Exception as error:  # whatever it is, it must cost neither the thread nor the rest of the batch
        if len(batch) == 1:
            log.error("a response of %d tokens cannot be scored: %s", len(batch[0].response), error)
            return [error]
        middle = len(batch) // 2
        return [*score(batch[:middle]), *score(batch[middle:])]


def _rewards(batch: Sequence[Leaf]) -> list[Outcome]:
    branches = trees(batch)
    outcomes: dict[Leaf, Outcome] = {}
    scored = batch[0].model.engine.score_trees([tree for tree, _ in branches])
    for scores, (_, leaves) in zip(scored, branches, strict=True):
        for index, leaf in enumerate(leaves):
            aspects = {name: values[index] for name, values in scores.aspects.items()}
            outcomes[leaf] = (scores.rewards[index], aspects)
    return [outcomes[leaf] for leaf in batch]
