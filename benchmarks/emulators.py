"""Trainers as the server sees them: each asks, tries again and gives up as its own client does."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx

from rewardlab.client import AsyncRemoteReward

Ask = Callable[[httpx.AsyncClient, str, str], Awaitable[float | None]]


class Count(NamedTuple):
    """Rewards that came, calls whose trainer would have died, and rewards that became None in silence."""

    rewards: int
    lost: int
    nones: int


class Trainer:
    """One worker of a trainer that asks for one reward after another."""

    def __init__(self, url: str, ask: Ask, number: int) -> None:
        self._url, self._ask, self._number = url, ask, number

    async def run(self, seconds: float) -> Count:
        """Ask for so long; what has been asked then is still waited for, and counts."""
        end = time.monotonic() + seconds
        rewards = lost = nones = turn = 0
        async with httpx.AsyncClient(base_url=self._url, timeout=None, headers={"Connection": "close"}) as http:  # noqa: S113
            while time.monotonic() < end:
                turn += 1
                prompt = f"Trainer {self._number // 8}, turn {turn // 4}: how much is {turn} + 2?"
                try:
                    reward = await self._ask(http, prompt, f"It is {self._number + turn}.")
                except (httpx.HTTPError, RuntimeError, ValueError, KeyError, ConnectionError):
                    lost += 1
                    continue
                rewards += reward is not None
                nones += reward is None
        return Count(rewards, lost, nones)


def trainers(url: str, each: int) -> list[Trainer]:
    """Return so many workers of each of five trainers."""
    asks = (openrlhf, verl, slime, llama_factory, _trl(url))
    return [Trainer(url, ask, number) for number in range(each) for ask in asks]


def rendered(prompt: str, response: str) -> str:
    """Return a conversation in ChatML, as the tiny model and SmolLM2's policies render it."""
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{response}<|im_end|>\n"


async def openrlhf(http: httpx.AsyncClient, prompt: str, response: str) -> float | None:
    """Five tries, a second apart, 180 s each, after any error; then no reward and no word (utils/agent.py)."""
    for _ in range(5):
        try:
            answer = await http.post("/openrlhf/get_reward", json={"query": [rendered(prompt, response)]}, timeout=180)
            answer.raise_for_status()
            return float(answer.json()["rewards"][0])
        except httpx.HTTPError:
            await asyncio.sleep(1)
    return None


async def verl(http: httpx.AsyncClient, prompt: str, response: str) -> float | None:
    """16 tries with doubling waits up to 30 s after 5xx; any 4xx is raised at once (reward_loop.py)."""
    for attempt in range(16):
        answer = await http.post("/verl/classify", json={"input": rendered(prompt, response), "use_activation": False})
        if answer.status_code < 500:
            answer.raise_for_status()
            return float(answer.json()["data"][-1]["probs"][-1])
        await asyncio.sleep(min(2**attempt, 30))
    raise RuntimeError("verl gives up after 16 tries")


async def slime(http: httpx.AsyncClient, prompt: str, response: str) -> float | None:
    """Ten tries with growing, jittered waits within 120 s each, after anything (rm_hub)."""
    for attempt in range(10):
        try:
            body = {"prompt": prompt, "response": response, "label": None}
            answer = await http.post("/slime/rm", json=body, timeout=120)
            answer.raise_for_status()
            return float(answer.json())
        except httpx.HTTPError:
            await asyncio.sleep(min(2**attempt, 30) * random.random())  # noqa: S311
    raise RuntimeError("slime gives up after 10 tries")


async def llama_factory(http: httpx.AsyncClient, prompt: str, response: str) -> float | None:
    """One try, no timeout, no look at the status: a reply without `scores` ends the training (ppo_utils.py)."""
    body = {"model": "model", "messages": [rendered(prompt, response)]}
    answer = await http.post("/llamafactory/v1/score/evaluation", json=body)
    scores: Any = json.loads(answer.text)["scores"]
    return float(scores[0])


def _trl(url: str) -> Ask:
    async def trl(http: httpx.AsyncClient, prompt: str, response: str) -> float | None:  # noqa: ARG001
        """Our own client, as a reward function that is awaited."""
        async with AsyncRemoteReward(url) as reward:
            return (await reward([prompt], [response]))[0]

    return trl
