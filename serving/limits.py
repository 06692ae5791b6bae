"""Admission: what a request may hold before any of it is tokenized."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from rewardlab.config import Config
from rewardlab.groups import Message

RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits(Config):
    """What one request may hold, and how many may wait for the engine."""

    max_body_bytes: int = 16 * 2**20
    max_responses: int = 1024
    max_waiting: int = 128


def unavailable(reason: str) -> HTTPException:
    """Return the 503 that tells a client when to try again."""
    return HTTPException(503, reason, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


async def read_object(request: Request, limits: Limits) -> dict[str, Any]:
    """Return the request's body as a JSON object.

    Raises:
        HTTPException: 413 for a body over the limit, 400 for one that is not a JSON object.
    """
    body = await _read_body(request, limits.max_body_bytes)
    try:
        values = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise HTTPException(400, "the body is nested too deeply") from error
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise HTTPException(400, f"the body is a JSON object, got {values!r:.80}")
    return values


async def _read_body(request: Request, limit: int) -> bytes:
    message = f"the body is over {limit} bytes: send fewer or shorter responses"
    if int(request.headers.get("content-length", 0)) > limit:
        raise HTTPException(413, message)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise HTTPException(413, message)
    except ClientDisconnect as error:
        raise HTTPException(400, "the client left before its body was read") from error
    return bytes(body)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def check_texts(prompt: Sequence[Message], responses: Sequence[str], limits: Limits) -> None:
    """Refuse a group that cannot be scored; an empty response is legal.

    Raises:
        ValueError: there are no responses or too many, or a text is not valid Unicode.
    """
    if not responses:
        raise ValueError("responses: a list of at least one string, got an empty list")
    if len(responses) > limits.max_responses:
        raise ValueError(
            f"responses: at most {limits.max_responses} in one request, got {len(responses)}: send several requests"
        )
    for turn in prompt:
        check_unicode("prompt", turn.content)
    for index, response in enumerate(responses):
        check_unicode(f"responses[{index}]", response)


def check_unicode(where: str, text: str) -> None:
    r"""Refuse text that has no UTF-8 form.

    Raises:
        ValueError: the text holds a lone surrogate, such as JSON's `"\ud800"`.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        lone = text[error.start]
        raise ValueError(
            f"{where}: valid Unicode, got the lone surrogate {lone!r} at character {error.start}"
        ) from error
