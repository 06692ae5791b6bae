"""Score with a rewardlab server: a client that is also a reward function for TRL's trainers."""

import json
import math
import re
import time
from collections.abc import Sequence
from typing import Any, Self

import httpx

from rewardlab.adapters import Text, grouped

_SHORTEST_WAIT_SECONDS = 0.05
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 8.0


class RemoteReward:
    """A reward function that asks a rewardlab server; give it to a trainer's `reward_funcs`, or call `score`.

    Connections are reused. A server that is starting, restarting or overloaded (503) is asked again, after the time
    it named, until `timeout` is over. Safe to share by threads; close it, or use it as a context manager.

    Args:
        url: where the server is, such as `http://127.0.0.1:8080`.
        timeout: seconds for one prompt and its responses, repeated tries included.

    Raises:
        ValueError: the URL is not one of a server.

    Example:
        >>> with RemoteReward(url) as reward:  # such as http://127.0.0.1:8080
        ...     rewards = reward.score("What is 2 + 2?", ["It is 4.", "It is 5."])
        >>> len(rewards)
        2
    """

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
            raise ValueError(f"url is one of a server, such as http://127.0.0.1:8080, got {url!r}")
        if not timeout > 0:
            raise ValueError(f"timeout is a positive number of seconds, got {timeout}")
        self.__name__ = "remote_reward"
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._client = httpx.Client(headers={"Content-Type": "application/json"})

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:  # noqa: ARG002
        """Return the reward of each completion to its prompt.

        Consecutive completions to one prompt are sent together.

        Args:
            prompts: strings or conversations.
            completions: strings, or messages that end with the assistant's.
            **columns: whatever else the trainer hands to reward functions.

        Raises:
            ValueError: the lengths differ, or a completion is not a text; else as `score`.
        """
        groups = grouped(prompts, completions)
        return [reward for prompt, responses in groups for reward in self.score(prompt, responses)]

    def score(self, prompt: Text, responses: Sequence[str]) -> list[float]:
        """Return the rewards of the responses to one prompt.

        Raises:
            ValueError: the server refuses what was sent; the message is the server's.
            ConnectionError: no server answers, or none is ready, within the timeout.
            RuntimeError: the server fails, or is not a rewardlab server.
        """
        body = json.dumps({"prompt": prompt, "responses": list(responses)})
        answer = self._post(f"{self.url}/v1/rewards", body)
        if 400 <= answer.status_code < 500:
            raise ValueError(f"{answer.url} refuses this request ({answer.status_code}): {_reason(answer)}")
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.url} failed ({answer.status_code}): {_reason(answer)}")
        return _rewards(answer, len(responses))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        """Return the client, to be closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def _post(self, url: str, body: str) -> httpx.Response:
        """Send until there is an answer other than 503 or the time is over; scoring twice does no harm."""
        end = time.monotonic() + self.timeout
        wait, problem = _FIRST_WAIT_SECONDS, ""
        while True:
            pause = wait
            try:
                answer = self._client.post(url, content=body, timeout=max(end - time.monotonic(), 0.001))
                if answer.status_code != 503:
                    return answer
                problem = _reason(answer)
                pause = _retry_after(answer, default=wait)
            except httpx.TimeoutException:
                problem = problem or "no answer in time"
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            if time.monotonic() + pause >= end:
                raise ConnectionError(f"{url} gave no rewards within {self.timeout:g} s: {problem}")
            time.sleep(pause)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


def _rewards(answer: httpx.Response, count: int) -> list[float]:
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
