"""Bearer tokens: who may call the server, and how many requests each caller may have in work."""

import asyncio
import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from rewardlab.config import Config
from serving.admission import OverloadPolicy
from serving.limits import unavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class Token(Config):
    """A token's text and how many of its requests may be in work at a time; the others wait as when the queue is full.

    `token` is the text itself, or `env:NAME` for that environment variable's.
    """

    token: str
    max_requests: int = 4096

    def __post_init__(self) -> None:
        if not self.token or self.max_requests < 1:
            raise ValueError("a token is {token, max_requests?}: a text that is not empty, and at least 1 request")


def read_tokens(source: str) -> dict[str, Token]:
    """Return the tokens of a JSON file or of a variable (`env:NAME`): `{"NAME": {"token": ..., "max_requests": ...}}`.

    Raises:
        ValueError: there is no such file or variable, or it does not hold that; no message quotes a token.
    """
    text = _variable(source) if source.startswith("env:") else Path(source).read_text(encoding="utf-8")
    try:
        values = json.loads(text)
        tokens = {name: Token.from_dict(value) for name, value in values.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f'tokens of {source}: JSON such as {{"me": {{"token": "env:MY_TOKEN"}}}}') from error
    if not tokens:
        raise ValueError(f"tokens of {source}: at least one, else nobody may ask")
    return {name: replace(token, token=_variable(token.token)) for name, token in tokens.items()}


def _variable(reference: str) -> str:
    """Return what the variable of `env:NAME` holds; any other text stands for itself."""
    if not reference.startswith("env:"):
        return reference
    name = reference.removeprefix("env:")
    if not os.environ.get(name):
        raise ValueError(f"the environment variable {name} is not set")
    return os.environ[name]


class Authenticator:
    """Checks the bearer token of a request and counts the requests of each token. Without tokens everybody may ask."""

    def __init__(self, tokens: Mapping[str, Token] | None = None) -> None:
        self._tokens = [
            (name, _digest(token.token), asyncio.Semaphore(token.max_requests))
            for name, token in (tokens or {}).items()
        ]

    def caller(self, headers: Mapping[str, Any], policy: OverloadPolicy) -> AbstractAsyncContextManager[str | None]:
        """Yield the name of the caller's token, for as long as the request is in work.

        Raises:
            HTTPException: 401 without a known token; as for a full queue where the token has too much in work.
        """
        return self._caller(headers, policy) if self._tokens else nullcontext()

    @asynccontextmanager
    async def _caller(self, headers: Mapping[str, Any], policy: OverloadPolicy) -> AsyncIterator[str | None]:
        name, room = self._match(str(headers.get("authorization", "")))
        if policy.hold_seconds <= 0 and room.locked():
            raise unavailable(f"{name} has all the requests in work that it may have: try again later")
        try:
            async with asyncio.timeout(policy.hold_seconds or None):
                await room.acquire()
        except TimeoutError:
            raise unavailable(f"{name} has all the requests in work that it may have: try again later") from None
        try:
            yield name
        finally:
            room.release()

    def _match(self, header: str) -> tuple[str, asyncio.Semaphore]:
        """Compare with every token in constant time, so that time tells neither how much is right nor which it is."""
        scheme, _, token = header.partition(" ")
        digest = _digest(token.strip())
        matches = [hmac.compare_digest(digest, known) for _, known, _ in self._tokens]
        if scheme.lower() != "bearer" or not any(matches):
            raise HTTPException(401, "a known bearer token is needed", headers={"WWW-Authenticate": "Bearer"})
        name, _, room = self._tokens[matches.index(True)]
        return name, room


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
