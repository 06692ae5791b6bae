"""The native protocol: one prompt and its responses in; rewards, ranks and the best out."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rewardlab.engine import Scores
from rewardlab.groups import Message, messages
from serving.limits import Limits, check_texts, read_object
from serving.work import Worker

_KEYS = ("prompt", "responses")


def routes(worker: Worker, *, model: str) -> list[Route]:
    """Return the route of `POST /v1/rewards`; `model` is the `NAME/VERSION` of the replies."""

    async def rewards(request: Request) -> JSONResponse:
        values = await read_object(request, worker.limits)
        try:
            prompt, responses = parse(values, worker.limits)
            scores = await worker.score(prompt, responses)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return JSONResponse(reply(scores, model))

    return [Route("/v1/rewards", rewards, methods=["POST"])]


def parse(values: Mapping[str, Any], limits: Limits) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """Return the prompt and the responses of a request.

    Raises:
        ValueError: a key is unknown or missing, or does not hold what it should; the message names it.
    """
    if unknown := sorted(set(values) - set(_KEYS)):
        raise ValueError(f"unknown key {unknown[0]!r}: the body has 'prompt' and 'responses'")
    for key in _KEYS:
        if key not in values:
            raise ValueError(f"{key!r} is missing: the body has 'prompt' and 'responses'")
    try:
        prompt = messages(values["prompt"])
    except ValueError as error:
        raise ValueError(f"prompt: {error}") from error
    responses = values["responses"]
    if not isinstance(responses, list):
        raise ValueError(f"responses: a list of strings, got {responses!r:.80}")
    for index, response in enumerate(responses):
        if not isinstance(response, str):
            raise ValueError(f"responses[{index}]: a string, got {response!r:.80}")
    check_texts(prompt, responses, limits)
    return prompt, tuple(responses)


def reply(scores: Scores, model: str) -> dict[str, Any]:
    """Return the reply's values."""
    return {
        "rewards": list(scores.rewards),
        "ranks": ranks(scores.rewards),
        "best": scores.rewards.index(max(scores.rewards)),
        "truncated": list(scores.truncated),
        "num_tokens": list(scores.num_tokens),
        "model": model,
    }


def ranks(rewards: Sequence[float]) -> list[int]:
    """Return each reward's rank: 1 is the best, equals share the lowest.

    Example:
        >>> ranks([0.5, 2.0, 0.5, -1.0])
        [2, 1, 2, 4]
    """
    first: dict[float, int] = {}
    for rank, reward in enumerate(sorted(rewards, reverse=True), start=1):
        first.setdefault(reward, rank)
    return [first[reward] for reward in rewards]
