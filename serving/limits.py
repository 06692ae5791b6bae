"""Limits of a request, and its body: what is refused before any of it is tokenized."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from rewardlab.config import Config
from rewardlab.groups import Message
from rewardlab.text import parse_json, utf8


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits(Config):
    """What one request may hold, and how much may wait for the engine.

    `max_queue_seconds` is work as the engine's measured speed prices it; while more than that waits, the next requests
    are held: all of them together at most `max_held_bytes`, and each of them at most `max_hold_seconds`.
    """

    max_body_bytes: int = 16 * 2**20
    max_item_bytes: int = 2 * 2**20
    max_responses: int = 1024
    max_queue_seconds: float = 10.0
    max_hold_seconds: float = 3600.0
    max_held_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        if self.max_item_bytes >= self.max_body_bytes:  # else the body is refused before the item can be named
            raise ValueError(
                f"max_item_bytes {self.max_item_bytes} is not below max_body_bytes {self.max_body_bytes}: lower it"
            )


def unavailable(reason: str, *, retry_seconds: int = 1) -> HTTPException:
    """Return the 503 that tells a client when to try again."""
    return HTTPException(503, reason, headers={"Retry-After": str(retry_seconds)})


def parse_object(body: bytes, limits: Limits) -> Mapping[str, object]:
    """Return JSON text as the object that it is.

    Raises:
        HTTPException: 413 if it is over the limit of a body, 400 if it is not a JSON object.
    """
    if len(body) > limits.max_body_bytes:
        raise HTTPException(413, f"at most {limits.max_body_bytes} bytes")
    try:
        values = parse_json(body.decode("utf-8"))
    except RecursionError as error:
        raise HTTPException(400, "the body is nested too deeply") from error
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise HTTPException(400, f"the body is a JSON object, got {values!r:.80}")
    return values


async def read_body(request: Request, limit: int) -> bytes:
    """Return the request's body.

    Raises:
        HTTPException: 413 for a body over the limit.
    """
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


def check_texts(prompt: Sequence[Message], responses: Sequence[str], limits: Limits) -> None:
    """Refuse a group that cannot be scored; an empty response is legal.

    Raises:
        ValueError: there are no responses or too many, or a text is too long or not valid Unicode.
    """
    check_count(len(responses), limits)
    check_prompt(prompt, limits)
    for index, response in enumerate(responses):
        check_text(f"responses[{index}]", response, limits)


def check_count(count: int, limits: Limits) -> None:
    """Refuse no responses, and too many of them.

    Raises:
        ValueError: with what to do.
    """
    if not count:
        raise ValueError("responses: a list of at least one string, got an empty list")
    if count > limits.max_responses:
        raise ValueError(
            f"responses: at most {limits.max_responses} in one request, got {count}: send several requests"
        )


def check_prompt(prompt: Sequence[Message], limits: Limits) -> None:
    """Refuse a prompt that is too long or not valid Unicode.

    Raises:
        ValueError: with the reason.
    """
    if sum(check_text("prompt", turn.content, limits) for turn in prompt) > limits.max_item_bytes:
        raise ValueError(f"prompt: at most {limits.max_item_bytes} bytes in all its turns")


def check_text(where: str, text: str, limits: Limits) -> int:
    r"""Refuse text that is too long or has no UTF-8 form; return its bytes.

    Raises:
        ValueError: the text is over its limit or holds a lone surrogate, such as JSON's `"\ud800"`.
    """
    length = len(utf8(where, text))
    if length > limits.max_item_bytes:
        raise ValueError(f"{where}: at most {limits.max_item_bytes} bytes, got {length}")
    return length
