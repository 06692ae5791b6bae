"""Five trainers' clients as the server sees them: what each sends, waits for, tries again, and gives up on.

The loops are those of OpenRLHF 0.11.2 (`openrlhf/utils/agent.py`), verl 0.9.1 (`reward_loop.py`), slime
(`rollout/rm_hub`) and LLaMA-Factory 0.9.5 (`train/ppo/ppo_utils.py`), over the load generator's connections; TRL's is
our own `AsyncRemoteReward`, which its trainers call.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from benchmarks.load import ask, request
from rewardlab.client import AsyncRemoteReward

Rewards = list[float | None]
Whole = Callable[[str, str], str]
"""Renders a prompt and a response as one text."""
SLIME_CONNECTIONS = 64


class Trainers:
    """The clients of one server; a reward that a trainer would go on without is None, and so is one it stops at.

    Args:
        port: where the server listens.
        whole: renders with the bundle's template.
    """

    def __init__(self, port: int, whole: Whole) -> None:
        self._port = port
        self._whole = whole
        self._slime = asyncio.Semaphore(SLIME_CONNECTIONS)
        self._remote = AsyncRemoteReward(f"http://127.0.0.1:{port}")
        self.kinds: dict[str, Callable[[str, Sequence[str]], Awaitable[Rewards]]] = {
            "openrlhf": self._each(self._openrlhf),
            "verl": self._each(self._verl),
            "slime": self._each(self._slime_rm),
            "llamafactory": self._llamafactory,
            "trl": self._trl,
        }

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._remote.aclose()

    def _each(
        self, one: Callable[[str, str], Awaitable[float | None]]
    ) -> Callable[[str, Sequence[str]], Awaitable[Rewards]]:
        async def group(prompt: str, responses: Sequence[str]) -> Rewards:
            return list(await asyncio.gather(*(one(prompt, response) for response in responses)))

        return group

    async def _openrlhf(self, prompt: str, response: str) -> float | None:
        """Try five times, for 180 s each and a second apart, then go on with no reward."""
        message = request("/openrlhf/get_reward", {"query": [self._whole(prompt, response)], "prompts": [prompt]})
        for _ in range(5):
            try:
                async with asyncio.timeout(180):
                    status, values = await self._post(message)
                if status < 400:
                    return float(values["rewards"][0])
            except (OSError, TimeoutError):
                pass
            await asyncio.sleep(1)
        return None

    async def _verl(self, prompt: str, response: str) -> float | None:
        """Wait for ever, try again after 5xx alone, 16 times; a 4xx ends the training step."""
        message = request("/verl/classify", {"input": self._whole(prompt, response), "use_activation": False})
        for turn in range(16):
            try:
                status, values = await self._post(message)
                if status < 400:
                    return float(values["data"][-1]["probs"][-1])
                if status < 500:
                    return None
            except OSError:
                pass
            await asyncio.sleep(min(2**turn, 30))
        return None

    async def _slime_rm(self, prompt: str, response: str) -> float | None:
        """Try ten times over 64 connections, 120 s each, with growing waits and jitter."""
        message = request("/slime/rm", {"prompt": prompt, "response": response, "label": None})
        for turn in range(10):
            try:
                async with self._slime, asyncio.timeout(120):
                    status, value = await self._post(message)
                if status < 400:
                    return float(value)
            except (OSError, TimeoutError):
                pass
            await asyncio.sleep(random.uniform(0, min(2**turn, 30)))
        return None

    async def _llamafactory(self, prompt: str, responses: Sequence[str]) -> Rewards:
        """Ask once for a batch, look at no status and wait for ever: whatever is not rewards ends the training."""
        texts = [self._whole(prompt, response) for response in responses]
        try:
            _, values = await self._post(
                request("/llamafactory/v1/score/evaluation", {"model": "m", "messages": texts})
            )
            return [float(score) for score in values["scores"]]
        except (OSError, KeyError):
            return [None] * len(responses)

    async def _trl(self, prompt: str, responses: Sequence[str]) -> Rewards:
        try:
            return list(await self._remote.score(prompt, responses))
        except (ValueError, ConnectionError, RuntimeError):
            return [None] * len(responses)

    async def _post(self, message: bytes) -> tuple[int, Any]:
        status, _, body = await ask(self._port, message)
        return status, json.loads(body)
