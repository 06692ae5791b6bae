"""Admission control: admit requests while less work than `max_queue_seconds` waits; hold or reject the others."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from serving.limits import Limits

LONGEST_RETRY_SECONDS = 30
FIRST_TOKENS_PER_SECOND = 4000.0
"""The engine's speed until it has been measured, and the bytes of a token likewise."""
FIRST_BYTES_PER_TOKEN = 4.0
_MEMORY = 0.98
"""The share of the sums so far that is kept at each measurement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OverloadPolicy:
    """What the server does with a protocol's requests when it is full, and how it words a refusal.

    Attributes:
        hold_seconds: how long a request that finds the queue full is held, before the answer is `full_status` with a
            Retry-After. 0: it is not held.
        deadline_seconds: after this time the answer is 504, whatever the request waits for.
        full_status: the status when the queue is full.
        refusal_status: the status of a request that cannot be scored.
        why: what the protocol's clients do on errors and delays. This decides the other four.
    """

    hold_seconds: float
    deadline_seconds: float
    full_status: int = 503
    refusal_status: int = 422
    why: str


class Throughput:
    """The engine's measured speed, and the measured bytes of a token: decaying sums."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._tokens, self._seconds = FIRST_TOKENS_PER_SECOND, 1.0
        self._read_bytes, self._read_tokens = FIRST_BYTES_PER_TOKEN, 1.0

    def computed(self, tokens: int, seconds: float) -> None:
        """Add the tokens of a batch, and the seconds that it took."""
        self._tokens = _MEMORY * self._tokens + tokens
        self._seconds = _MEMORY * self._seconds + seconds

    def read(self, num_bytes: int, tokens: int) -> None:
        """Add the bytes of tokenized texts, and their tokens."""
        self._read_bytes = _MEMORY * self._read_bytes + num_bytes
        self._read_tokens = _MEMORY * self._read_tokens + tokens

    def seconds(self, *, tokens: int, num_bytes: int) -> float:
        """Estimate how long work takes: `tokens` that are tokenized, and `num_bytes` that are not yet."""
        total = tokens + num_bytes * self._read_tokens / self._read_bytes
        return total * self._seconds / (self._tokens * self._threads)


@dataclass(slots=True, eq=False)
class _Waiter:
    num_bytes: int
    admitted: "asyncio.Future[None]"


class Admission:
    """Admits requests in the order they came, while little work waits. Not thread-safe: for the event loop alone.

    Args:
        limits: how much work may wait, and how many bytes of requests may be held.
        throughput: how fast work is done.
        outstanding: returns the tokens that are queued or in the engine; whoever lowers them calls `admit_waiting`.
    """

    def __init__(self, limits: Limits, throughput: Throughput, outstanding: Callable[[], int]) -> None:
        self.limits = limits
        self.throughput = throughput
        self._outstanding = outstanding
        self._closed: str | None = None
        self._held: dict[_Waiter, None] = {}
        self._held_bytes = 0
        self._tokenizing_bytes = 0

    @property
    def num_held(self) -> int:
        """Return how many requests are held."""
        return len(self._held)

    @property
    def is_open(self) -> bool:
        """Say whether a new request is admitted at once."""
        return not self._held and self._has_room()

    def seconds(self) -> float:
        """Return how many seconds of work are admitted, with what is being tokenized."""
        return self.throughput.seconds(tokens=self._outstanding(), num_bytes=self._tokenizing_bytes)

    @asynccontextmanager
    async def admit(self, num_bytes: int, policy: OverloadPolicy) -> AsyncIterator[None]:
        """Wait until the request is admitted; in the block it is tokenized and queued.

        Raises:
            HTTPException: it is not admitted while its protocol's clients wait; Retry-After says when to try again.
        """
        if self.is_open:
            self._tokenizing_bytes += num_bytes
        else:
            await self._hold(num_bytes, policy)
        try:
            yield
        finally:
            self._tokenizing_bytes -= num_bytes
            self.admit_waiting()

    def reject_if_full(self, policy: OverloadPolicy) -> None:
        """Reject a request that its policy does not hold, before any of its body is read.

        Raises:
            HTTPException: the queue is full.
        """
        if policy.hold_seconds <= 0 and not self.is_open:
            raise self._full(policy.full_status)

    def admit_waiting(self) -> None:
        """Admit held requests while there is room."""
        while self._held and self._has_room():
            waiter = next(iter(self._held))
            self._remove(waiter)
            # a future that is done was cancelled with its task, which has not run since
            if not waiter.admitted.done():
                self._tokenizing_bytes += waiter.num_bytes
                waiter.admitted.set_result(None)

    def close(self, reason: str) -> None:
        """Reject the held requests, and from here on hold no other; what finds room is still admitted."""
        self._closed = reason
        for waiter in tuple(self._held):
            self._remove(waiter)
            if not waiter.admitted.done():
                waiter.admitted.set_exception(self._full(503))

    async def _hold(self, num_bytes: int, policy: OverloadPolicy) -> None:
        seconds = min(policy.hold_seconds, self.limits.max_hold_seconds)
        if self._closed or seconds <= 0 or self._held_bytes + num_bytes > self.limits.max_held_bytes:
            raise self._full(policy.full_status)
        waiter = _Waiter(num_bytes, asyncio.get_running_loop().create_future())
        self._held[waiter] = None
        self._held_bytes += num_bytes
        try:
            async with asyncio.timeout(seconds):
                await waiter.admitted
        except BaseException as error:
            if waiter in self._held:
                self._remove(waiter)
            elif not waiter.admitted.cancelled() and waiter.admitted.exception() is None:
                # it was admitted at the moment when its time ended or its client left: the block will not run
                self._tokenizing_bytes -= num_bytes
            if isinstance(error, TimeoutError):
                raise self._full(policy.full_status) from None
            raise

    def _has_room(self) -> bool:
        return self.seconds() < self.limits.max_queue_seconds

    def _remove(self, waiter: _Waiter) -> None:
        del self._held[waiter]
        self._held_bytes -= waiter.num_bytes

    def _full(self, status: int) -> HTTPException:
        seconds = self.seconds()
        reason = self._closed or f"{seconds:.1f} s of work are waiting already: try again later"
        wait = min(max(1, math.ceil(seconds - self.limits.max_queue_seconds)), LONGEST_RETRY_SECONDS)
        return HTTPException(status, reason, headers={"Retry-After": str(wait)})
