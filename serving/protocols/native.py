"""The native protocol: one prompt and its responses in; rewards, ranks, the best and how sure that is out."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from starlette.responses import Response

import rewardlab
from rewardlab.files import read_json
from rewardlab.groups import Message
from serving.admission import OverloadPolicy
from serving.fields import prompt_messages
from serving.json_lines import NDJSON, Lines
from serving.limits import Limits, check_count, check_prompt, check_text
from serving.loaded_model import Group, LoadedModel
from serving.protocol import Endpoint, Protocol, RequestContext, json_reply
from serving.scorer import Scored, reason, rewards

_SCHEMAS = Path(rewardlab.__file__).parent / "schemas"
_KEYS = ("prompt", "responses")
_OPTIONS = ("partial",)


class AspectRewards(TypedDict, total=False):
    """The rewards by aspect, where the model has aspects."""

    aspects: dict[str, list[float | None]]


class Rewards(AspectRewards):
    """The reply where every response has its reward (`rewards_response.schema.json`)."""

    rewards: list[float]
    ranks: list[int]
    best: int
    order: list[int]
    beats_next: list[float]
    truncated: list[bool]
    num_tokens: list[int]
    digest: str
    model: str


class ResponseError(TypedDict):
    """Why the response at a place of the request has no reward."""

    index: int
    error: str


class PartialRewards(AspectRewards):
    """The reply where a response may have failed (`rewards_partial.schema.json`)."""

    rewards: list[float | None]
    truncated: list[bool]
    num_tokens: list[int]
    errors: list[ResponseError]
    digest: str
    model: str


async def reply(context: RequestContext) -> Response:
    """Return the reply to a JSON object, or to a stream of JSON lines."""
    media_type = context.request.headers.get("content-type", "").partition(";")[0]
    if media_type.strip().lower() == NDJSON:
        return Lines(context.streaming(), answer)
    return await json_reply(answer)(context)


async def answer(context: RequestContext, values: Mapping[str, object]) -> Rewards | PartialRewards:
    """Return the reply to one group.

    Raises:
        ValueError: the request is wrong, or a response of it is and the request does not ask for the others alone.
    """
    prompt, responses = parse(values, context.limits)
    bad = {index: response for index, response in enumerate(responses) if isinstance(response, ValueError)}
    if bad and not values.get("partial"):
        raise ValueError("; ".join(map(str, bad.values())))
    good = [response for response in responses if isinstance(response, str)]
    (scored,) = await context.score([Group(prompt, good)])
    if not values.get("partial"):
        return whole(rewards(scored), scored)
    places = [index for index in range(len(responses)) if index not in bad]
    unreadable = {index: str(error) for index, error in bad.items()}
    unscored = {places[at]: reason(error) for at, error in scored.errors.items()}
    return partial(scored, places, unreadable | unscored)


def parse(values: Mapping[str, object], limits: Limits) -> tuple[tuple[Message, ...], list[str | ValueError]]:
    """Return the prompt and the responses of a request, or what is wrong with a response in its place.

    Raises:
        ValueError: a key is unknown or missing, or does not hold what it should; the message names it.
    """
    if unknown := sorted(set(values) - {*_KEYS, *_OPTIONS}):
        raise ValueError(f"unknown key {unknown[0]!r}: the body has 'prompt' and 'responses'")
    for key in _KEYS:
        if key not in values:
            raise ValueError(f"{key!r} is missing: the body has 'prompt' and 'responses'")
    if type(values.get("partial", False)) is not bool:
        raise ValueError(f"partial: true or false, got {values['partial']!r:.80}")
    prompt = prompt_messages(values["prompt"], "prompt")
    responses = values["responses"]
    if not isinstance(responses, list):
        raise ValueError(f"responses: a list of strings, got {responses!r:.80}")
    check_prompt(prompt, limits)
    check_count(len(responses), limits)
    return prompt, [_response(index, response, limits) for index, response in enumerate(responses)]


def _response(index: int, response: Any, limits: Limits) -> str | ValueError:
    if not isinstance(response, str):
        return ValueError(f"responses[{index}]: a string, got {response!r:.80}")
    try:
        check_text(f"responses[{index}]", response, limits)
    except ValueError as error:
        return error
    return response


def whole(values: Sequence[float], scored: Scored) -> Rewards:
    """Return the reply where every response has its reward."""
    order = sorted(range(len(values)), key=lambda index: -values[index])
    return {
        "rewards": list(values),
        "ranks": ranks(values),
        "best": order[0],
        "order": order,
        "beats_next": _beats_next([values[index] for index in order], scored.model),
        **_aspects({aspect: list(column) for aspect, column in scored.aspects.items()}),
        "truncated": list(scored.truncated),
        "num_tokens": list(scored.num_tokens),
        "digest": scored.model.digest,
        "model": scored.model.label,
    }


def partial(scored: Scored, places: Sequence[int], errors: Mapping[int, str]) -> PartialRewards:
    """Return the reply where a response that failed has null for its reward, and its reason in `errors`.

    Args:
        scored: what became of the responses that could be read.
        places: where in the request each of those was.
        errors: the reason of each that failed, by its place in the request.
    """
    count = len(places) + len(set(errors) - set(places))
    at = dict(zip(places, range(len(places)), strict=True))

    def spread(values: Sequence[Any], missing: Any) -> list[Any]:
        return [values[at[index]] if index in at else missing for index in range(count)]

    return {
        "rewards": spread(scored.rewards, None),
        **_aspects({aspect: spread(column, None) for aspect, column in scored.aspects.items()}),
        "truncated": spread(scored.truncated, False),
        "num_tokens": spread(scored.num_tokens, 0),
        "errors": [{"index": index, "error": errors[index]} for index in sorted(errors)],
        "digest": scored.model.digest,
        "model": scored.model.label,
    }


def _aspects(rewards: dict[str, list[float | None]]) -> AspectRewards:
    return {"aspects": rewards} if rewards else {}


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


def _beats_next(falling: Sequence[float], model: LoadedModel) -> list[float]:
    """Return sigmoid((r_this - r_next) / temperature) for each but the last (Bradley & Terry 1952)."""
    temperature = model.engine.bundle.calibration.temperature
    return [0.5 + 0.5 * math.tanh((a - b) / (2.0 * temperature)) for a, b in itertools.pairwise(falling)]


PROTOCOL = Protocol(
    name="native",
    policy=OverloadPolicy(
        hold_seconds=20,
        deadline_seconds=55,
        why="RemoteReward gives up after 60 s; until then it asks again after 503 and 504",
    ),
    stream_policy=OverloadPolicy(
        hold_seconds=3600,
        deadline_seconds=3600,
        why="a stream's body is read no further while its lines wait, and so its client waits too",
    ),
    endpoints=(
        Endpoint(
            "/v1/rewards",
            reply,
            body=read_json(_SCHEMAS / "rewards_request.schema.json"),
            reply_schema={
                "anyOf": [read_json(_SCHEMAS / f"rewards_{kind}.schema.json") for kind in ("response", "partial")]
            },
        ),
    ),
    at_root=True,
)
