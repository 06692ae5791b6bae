"""Score with a rewardlab server: clients that are also reward functions for TRL's trainers, called or awaited."""

import asyncio
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self

import httpx

from rewardlab.adapters import Text, grouped

PARALLEL = 8
"""Prompts that one call asks for at a time: enough for the server to keep its cores busy and its batches full."""
_SHORTEST_WAIT_SECONDS = 0.05
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 8.0


class _Remote:
    """What both clients share: where the server is, what is sent, and what an answer means."""

    def __init__(self, url: str, *, timeout: float, token: str | None) -> None:
        if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
            raise ValueError(f"url is one of a server, such as http://127.0.0.1:8080, got {url!r}")
        if not timeout > 0:
            raise ValueError(f"timeout is a positive number of seconds, got {timeout}")
        self.__name__ = "remote_reward"
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def _call(self, prompt: Text, responses: Sequence[str]) -> "_Call":
        return _Call(f"{self.url}/v1/rewards", prompt, responses, timeout=self.timeout)


class RemoteReward(_Remote):
    """A reward function that asks a rewardlab server; give it to a trainer's `reward_funcs`, or call `score`.

    Connections are reused. A server that is starting, restarting or overloaded (503, 504) is asked again, after the
    time it named, until `timeout` is over. Safe to share by threads; close it, or use it as a context manager.

    Args:
        url: where the server is, such as `http://127.0.0.1:8080`.
        timeout: seconds for one prompt and its responses, repeated tries included.
        token: the bearer token, where the server asks for one.

    Raises:
        ValueError: the URL is not one of a server.

    Example:
        >>> with RemoteReward(url) as reward:  # such as http://127.0.0.1:8080
        ...     rewards = reward.score("What is 2 + 2?", ["It is 4.", "It is 5."])
        >>> len(rewards)
        2
    """

    def __init__(self, url: str, *, timeout: float = 60.0, token: str | None = None) -> None:
        super().__init__(url, timeout=timeout, token=token)
        self._client = httpx.Client(headers=self._headers)

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:  # noqa: ARG002
        """Return the reward of each completion to its prompt.

        Consecutive completions to one prompt are sent together, several prompts at a time.

        Args:
            prompts: strings or conversations.
            completions: strings, or messages that end with the assistant's.
            **columns: whatever else the trainer hands to reward functions.

        Raises:
            ValueError: the lengths differ, or a completion is not a text; else as `score`.
        """
        groups = grouped(prompts, completions)
        with ThreadPoolExecutor(PARALLEL) as pool:
            return [reward for rewards in pool.map(lambda group: self.score(*group), groups) for reward in rewards]

    def score(self, prompt: Text, responses: Sequence[str]) -> list[float]:
        """Return the rewards of the responses to one prompt.

        Raises:
            ValueError: the server refuses what was sent; the message is the server's.
            ConnectionError: no server answers, or none is ready, within the timeout.
            RuntimeError: the server fails, or is not a rewardlab server.
        """
        call = self._call(prompt, responses)
        while call.rewards is None:
            with call.attempt():
                call.take(self._client.post(call.url, content=call.body, timeout=call.seconds_left))
            time.sleep(call.pause)
        return call.rewards

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        """Return the client, to be closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()


class AsyncRemoteReward(_Remote):
    """A reward function that is awaited, so that a trainer's other reward functions run meanwhile; else `RemoteReward`.

    It belongs to the event loop that first awaits it; close it there with `aclose`, or use it with `async with`.

    Example:
        >>> import asyncio
        >>> async def work() -> list[float]:
        ...     async with AsyncRemoteReward(url) as reward:
        ...         return await reward(["What is 2 + 2?"] * 2, ["It is 4.", "It is 5."])
        >>> len(asyncio.run(work()))
        2
    """

    def __init__(self, url: str, *, timeout: float = 60.0, token: str | None = None) -> None:
        super().__init__(url, timeout=timeout, token=token)
        self._client = httpx.AsyncClient(headers=self._headers)

    async def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:  # noqa: ARG002
        """Return the reward of each completion to its prompt, as `RemoteReward` does."""
        room = asyncio.Semaphore(PARALLEL)

        async def ask(prompt: Text, responses: Sequence[str]) -> list[float]:
            async with room:
                return await self.score(prompt, responses)

        answers = await asyncio.gather(*(ask(*group) for group in grouped(prompts, completions)))
        return [reward for rewards in answers for reward in rewards]

    async def score(self, prompt: Text, responses: Sequence[str]) -> list[float]:
        """Return the rewards of the responses to one prompt; raises as `RemoteReward.score`."""
        call = self._call(prompt, responses)
        while call.rewards is None:
            with call.attempt():
                call.take(await self._client.post(call.url, content=call.body, timeout=call.seconds_left))
            await asyncio.sleep(call.pause)
        return call.rewards

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        """Return the client, to be closed at the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.aclose()


class _Call:
    """One prompt's way to its rewards: what is sent, what an answer means, and how long to wait before the next try.

    It sends nothing itself, so that both clients share it. Scoring twice does no harm.
    """

    def __init__(self, url: str, prompt: Text, responses: Sequence[str], *, timeout: float) -> None:
        self.url = url
        self.body = json.dumps({"prompt": prompt, "responses": list(responses)})
        self.rewards: list[float] | None = None
        self.pause = 0.0
        self._num_responses = len(responses)
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        self._next_wait = _FIRST_WAIT_SECONDS
        self._problem = ""

    @property
    def seconds_left(self) -> float:
        """Return the time that is left for a try."""
        return max(self._end - time.monotonic(), 0.001)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Try once: a connection that fails leads to a pause.

        Raises:
            ConnectionError: no time is left for another try.
        """
        try:
            yield
        except httpx.TimeoutException:
            self._wait(self._next_wait, self._problem or "no answer in time")
        except httpx.TransportError as error:
            self._wait(self._next_wait, str(error) or type(error).__name__)

    def take(self, answer: httpx.Response) -> None:
        """Take the rewards from an answer; one that asks to come back leads to a pause.

        Raises:
            ValueError: the server refuses what was sent.
            ConnectionError: no time is left for another try.
            RuntimeError: the server fails, or is not a rewardlab server.
        """
        if answer.status_code in (503, 504):
            self._wait(_retry_after(answer, default=self._next_wait), _reason(answer))
        else:
            self.rewards, self.pause = _rewards(answer, self._num_responses), 0.0

    def _wait(self, seconds: float, problem: str) -> None:
        if time.monotonic() + seconds >= self._end:
            raise ConnectionError(f"{self.url} gave no rewards within {self._timeout:g} s: {problem}")
        self.pause, self._problem = seconds, problem
        self._next_wait = min(2 * self._next_wait, _LONGEST_WAIT_SECONDS)


def _rewards(answer: httpx.Response, count: int) -> list[float]:
    if 400 <= answer.status_code < 500:
        raise ValueError(f"{answer.url} refuses this request ({answer.status_code}): {_reason(answer)}")
    if answer.status_code != 200:
        raise RuntimeError(f"{answer.url} failed ({answer.status_code}): {_reason(answer)}")
    try:
        rewards = [float(reward) for reward in answer.json()["rewards"]]
    except (ValueError, TypeError, KeyError) as error:
        raise RuntimeError(f"{answer.url} is not a rewardlab server: {answer.text!r:.80}") from error
    if len(rewards) != count or not all(map(math.isfinite, rewards)):
        raise RuntimeError(f"{answer.url} gave {rewards!r:.80} for {count} responses: not one finite reward for each")
    return rewards


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, TypeError, KeyError):
        return answer.text[:200] or answer.reason_phrase


def _retry_after(answer: httpx.Response, *, default: float) -> float:
    """Return the seconds the server asks to wait; a date instead of seconds counts as not said."""
    text = answer.headers.get("Retry-After", "")
    return max(float(text), _SHORTEST_WAIT_SECONDS) if text.isdecimal() else default
