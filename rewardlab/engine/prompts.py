"""What prompts leave behind when they are read, kept for the next responses to them."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = tuple[int, ...]
T = TypeVar("T")


class PromptCache(Generic[T]):
    """The prompts read most recently, within a number of bytes; safe to share by threads.

    Threads that ask for the same prompt at the same time read it once. One that does not fit is read and not kept.

    Args:
        limit_bytes: what may be kept.
        size_bytes: what one value takes.
    """

    def __init__(self, limit_bytes: int, size_bytes: Callable[[T], int]) -> None:
        self._limit = limit_bytes
        self._size = size_bytes
        self._kept: OrderedDict[Key, Future[T]] = OrderedDict()
        self._lock = threading.Lock()
        self.num_bytes = 0
        self.num_hits = 0
        self.num_misses = 0

    def get(self, key: Key, read: Callable[[], T]) -> T:
        """Return what the prompt left behind, reading it if it is not kept.

        Raises:
            Exception: what `read` raises, here or in the thread that was first; the next one reads again.
        """
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self.num_hits += 1
                self._kept.move_to_end(key)
            else:
                self.num_misses += 1
                mine = self._kept[key] = Future()
        if known is not None:
            return known.result()
        try:
            value = read()
        except BaseException as error:
            with self._lock:
                del self._kept[key]
            mine.set_exception(error)
            raise
        with self._lock:
            mine.set_result(value)
            self.num_bytes += self._size(value)
            self._drop_oldest()
        return value

    def _drop_oldest(self) -> None:
        for key in [key for key, each in self._kept.items() if each.done()]:  # the others are not counted yet
            if self.num_bytes <= self._limit:
                break
            self.num_bytes -= self._size(self._kept.pop(key).result())
