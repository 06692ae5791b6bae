"""Work on chunks with every core; the results come in the order of the chunks."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from rewardlab.cores import num_cores
from steps.common.progress import progress

Chunk = TypeVar("Chunk", bound=Sized)
Result = TypeVar("Result")

_FEW = 4
"""So many chunks are done before a pool of processes has started."""


def in_order(work: Callable[[Chunk], Result], chunks: Iterable[Chunk], *, label: str) -> Iterator[tuple[Chunk, Result]]:
    """Yield each chunk with what `work` returns for it.

    A few chunks are worked on here, more by a process for each core, which take two chunks ahead.

    Args:
        work: a function of a module, or a partial of one, so that it can be sent to a process.
        chunks: are read no faster than they are worked on.
        label: what progress is shown of; a chunk counts for its length.

    Raises:
        Exception: what `work` raised for the first chunk that fails; what has not begun is left undone.
        BrokenProcessPool: a process was killed, such as for want of memory.
    """
    waiting = iter(chunks)
    first = list(islice(waiting, _FEW + 1))
    everything = chain(first, waiting)
    pooled = len(first) > _FEW and num_cores() > 1
    with progress(0, label) as bar:
        for chunk, result in _pooled(work, everything) if pooled else ((each, work(each)) for each in everything):
            bar.update(len(chunk))
            yield chunk, result


def _pooled(work: Callable[[Chunk], Result], chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Result]]:
    """Spawn the processes rather than fork them: a fork of a process with threads may wait for ever for a lock."""
    cores = num_cores()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(cores, mp_context=context, initializer=_begin)
    ahead: deque[tuple[Chunk, Future[Result]]] = deque()
    try:
        for chunk in chunks:
            ahead.append((chunk, pool.submit(work, chunk)))
            if len(ahead) > 2 * cores:
                done, future = ahead.popleft()
                yield done, future.result()
        while ahead:
            done, future = ahead.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Set up a worker: one thread each, Ctrl-C is the parent's to handle, and no worker outlives its parent."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
