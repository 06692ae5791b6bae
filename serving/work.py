"""The engine's own thread and the bounded queue before it: the event loop never tokenizes or scores."""

import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from starlette.exceptions import HTTPException

from rewardlab.engine import Engine, Scores
from rewardlab.groups import Message
from serving.limits import Limits, unavailable


class Worker:
    """Scores one group after another, in the order they came.

    It is ready once the bundle's golden texts have been scored as they were sealed. The engine uses all its threads
    within one forward pass, so a second group at a time would only slow the first one down.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine = engine
        self.limits = limits
        self.not_ready: str | None = "the golden texts have not been scored yet"
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

    async def start(self) -> None:
        """Score the golden texts, then be ready; if they differ, say so and never be ready."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self.engine.check_golden)
        except Exception as error:  # whatever the reason, this server must not score
            self.not_ready = f"the golden check failed: {error}"
            print(f"serving: not ready: {self.not_ready}", file=sys.stderr, flush=True)
        else:
            self.not_ready = None

    def stop(self) -> None:
        """Be ready no more and wait for the group in work."""
        self.not_ready = "the server is shutting down"
        self._thread.shutdown(cancel_futures=True)

    async def score(self, prompt: Sequence[Message], responses: Sequence[str]) -> Scores:
        """Score one group when its turn comes.

        Raises:
            HTTPException: 503 if not ready or too many wait, 500 if a reward is not finite.
            ValueError: the chat template refuses the conversation.
        """
        if self.not_ready:
            raise unavailable(self.not_ready)
        if self._waiting >= self.limits.max_waiting:
            raise unavailable(f"{self._waiting} requests are waiting already: try again later")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self.engine.score, prompt, responses)
        except ArithmeticError as error:
            raise HTTPException(500, f"a reward is not finite: {error}") from error
        finally:
            self._waiting -= 1
