"""The door: who may have work tokenized and queued, by how many seconds of it wait already."""

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
"""How much of what was measured before is kept with each measurement."""


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


class Pace:
    """How fast the engine's threads are, and how many bytes make a token: sums that forget."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._tokens, self._seconds = FIRST_TOKENS_PER_SECOND, 1.0
        self._read_bytes, self._read_tokens = FIRST_BYTES_PER_TOKEN, 1.0

    def computed(self, tokens: int, seconds: float) -> None:
        """Learn from a batch."""
        self._tokens = _MEMORY * self._tokens + tokens
        self._seconds = _MEMORY * self._seconds + seconds

    def read(self, num_bytes: int, tokens: int) -> None:
        """Learn from a text that was tokenized."""
        self._read_bytes = _MEMORY * self._read_bytes + num_bytes
        self._read_tokens = _MEMORY * self._read_tokens + tokens

    def seconds(self, *, tokens: int, num_bytes: int) -> float:
        """Return how long work takes of which some is tokenized and some is not yet."""
        total = tokens + num_bytes * self._read_tokens / self._read_bytes
        return total * self._seconds / (self._tokens * self._threads)


@dataclass(slots=True, eq=False)
class _Turn:
    num_bytes: int
    come: "asyncio.Future[None]"


class Door:
    """Lets requests in while little work waits, in the order they came. It lives on the event loop alone.

    Args:
        limits: how much may wait inside and outside.
        pace: how fast work is done.
        outstanding: returns the tokens that are queued or in the engine; whoever lowers them calls `let_in`.
    """

    def __init__(self, limits: Limits, pace: Pace, outstanding: Callable[[], int]) -> None:
        self.limits = limits
        self.pace = pace
        self._outstanding = outstanding
        self._closed: str | None = None
        self._held: dict[_Turn, None] = {}
        self._held_bytes = 0
        self._entering = 0

    @property
    def num_held(self) -> int:
        """Return how many requests are held."""
        return len(self._held)

    @property
    def is_open(self) -> bool:
        """Say whether who comes is let in at once."""
        return not self._held and self._has_room()

    def seconds(self) -> float:
        """Return how many seconds of work are inside, what is being tokenized included."""
        return self.pace.seconds(tokens=self._outstanding(), num_bytes=self._entering)

    @asynccontextmanager
    async def entry(self, num_bytes: int, policy: OverloadPolicy) -> AsyncIterator[None]:
        """Wait for the request's turn; in the block it is tokenized and queued.

        Raises:
            HTTPException: there is no room in the time that its protocol's clients wait; it is told when to come back.
        """
        if self.is_open:
            self._entering += num_bytes
        else:
            await self._hold(num_bytes, policy)
        try:
            yield
        finally:
            self._entering -= num_bytes
            self.let_in()

    def look_in(self, policy: OverloadPolicy) -> None:
        """Send away who would not wait, before any of the request is read.

        Raises:
            HTTPException: there is no room.
        """
        if policy.hold_seconds <= 0 and not self.is_open:
            raise self._full(policy.full_status)

    def let_in(self) -> None:
        """Let in who was held, as far as there is room."""
        while self._held and self._has_room():
            turn = next(iter(self._held))
            self._leave(turn)
            if not turn.come.done():  # else it is leaving, and has not come to say so
                self._entering += turn.num_bytes
                turn.come.set_result(None)

    def close(self, reason: str) -> None:
        """Send away who is held, and from here on who comes and finds no room; what finds room is still taken on."""
        self._closed = reason
        for turn in tuple(self._held):
            self._leave(turn)
            if not turn.come.done():
                turn.come.set_exception(self._full(503))

    async def _hold(self, num_bytes: int, policy: OverloadPolicy) -> None:
        seconds = min(policy.hold_seconds, self.limits.max_hold_seconds)
        if self._closed or seconds <= 0 or self._held_bytes + num_bytes > self.limits.max_held_bytes:
            raise self._full(policy.full_status)
        turn = _Turn(num_bytes, asyncio.get_running_loop().create_future())
        self._held[turn] = None
        self._held_bytes += num_bytes
        try:
            async with asyncio.timeout(seconds):
                await turn.come
        except BaseException as error:
            if turn in self._held:
                self._leave(turn)
            elif not turn.come.cancelled() and turn.come.exception() is None:  # it was let in in the moment it left
                self._entering -= num_bytes
            if isinstance(error, TimeoutError):
                raise self._full(policy.full_status) from None
            raise

    def _has_room(self) -> bool:
        return self.seconds() < self.limits.max_queue_seconds

    def _leave(self, turn: _Turn) -> None:
        del self._held[turn]
        self._held_bytes -= turn.num_bytes

    def _full(self, status: int) -> HTTPException:
        seconds = self.seconds()
        reason = self._closed or f"{seconds:.1f} s of work are waiting already: try again later"
        wait = min(max(1, math.ceil(seconds - self.limits.max_queue_seconds)), LONGEST_RETRY_SECONDS)
        return HTTPException(status, reason, headers={"Retry-After": str(wait)})
