"""What a wire protocol is: its routes, request bodies, overload policy and error form, in one object."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.admission import OverloadPolicy
from serving.auth import Authenticator
from serving.disconnect import on_disconnect
from serving.limits import Limits, parse_object, read_body
from serving.loaded_model import Item, LoadedModel
from serving.logs import log
from serving.scorer import Scored, Scorer

T = TypeVar("T")
CLIENT_CLOSED = 499
"""The status that is counted and logged when the client disconnects before the reply."""
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """How a protocol's replies state an error.

    Attributes:
        body: returns the JSON body that states a reason.
        schema: the JSON schema of that body.
    """

    body: Callable[[str], Any]
    schema: Mapping[str, object]


ERROR_OBJECT = ErrorForm(
    lambda reason: {"error": reason},
    {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path that scores. It takes POST, asks for a token, is subject to the overload policy, and is counted.

    Attributes:
        path: without the protocol's prefix; `{name}` stands for a model's name.
        reply: returns the reply to a request.
        body: JSON schema of the request. None: an alias of another path, which OpenAPI leaves out.
        reply_schema: JSON schema of the reply; empty for whatever the protocol's own documentation says.
        described_as: the path in OpenAPI. None: `path` with the name of the served model.
    """

    path: str
    reply: "Reply"
    body: Mapping[str, object] | None = None
    reply_schema: Mapping[str, object] = field(default_factory=dict)
    described_as: str | None = None


@dataclass(frozen=True, slots=True)
class StatusRoute:
    """A path that describes the server or its model. It asks for no token, and is neither held nor counted.

    Attributes:
        described: OpenAPI lists the path.
    """

    path: str
    reply: "StatusReply"
    method: str = "GET"
    described: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """A wire protocol. Routes, command line, OpenAPI and the table in docs/reference/faults.md follow from it.

    Attributes:
        name: also the module's name, and the prefix of the paths: `/NAME`.
        policy: how its requests are treated under overload.
        stream_policy: the same for a request whose body is a stream of JSON lines, where the protocol has such.
        endpoints: the paths that score.
        status_routes: the paths that describe the server.
        at_root: the paths have no prefix. For protocols whose paths no other protocol uses.
        error_form: how a failure is stated.
    """

    name: str
    policy: OverloadPolicy
    stream_policy: OverloadPolicy | None = None
    endpoints: tuple[Endpoint, ...]
    status_routes: tuple[StatusRoute, ...] = ()
    at_root: bool = False
    error_form: ErrorForm = ERROR_OBJECT


class RequestContext:
    """One request: its protocol, its caller, the model that scored it, and what the log says of it."""

    def __init__(
        self,
        request: Request,
        protocol: Protocol,
        scorer: Scorer,
        authenticator: Authenticator,
        *,
        policy: OverloadPolicy | None = None,
    ) -> None:
        self.request = request
        self.protocol = protocol
        self.policy = policy or protocol.policy
        self.scorer = scorer
        self.authenticator = authenticator
        self.caller: str | None = None
        self.model: LoadedModel = scorer.model
        self._started = time.perf_counter()
        self._num_responses = 0
        request_id = request.headers.get("x-request-id", "")
        self.id = request_id if _REQUEST_ID.fullmatch(request_id) else uuid.uuid4().hex

    @property
    def limits(self) -> Limits:
        """Return what a request may hold."""
        return self.scorer.limits

    @property
    def facts(self) -> dict[str, str | int | None]:
        """Return what the log says of the request."""
        return {
            "request_id": self.id,
            "dialect": self.protocol.name,  # programs that read the log know this key, as the label of the metrics
            "path": self.request.scope["path"],
            "caller": self.caller,
            "responses": self._num_responses,
            "model": self.model.label,
        }

    def streaming(self) -> "RequestContext":
        """Return the context of this request's lines, which are scored under the protocol's stream policy."""
        assert self.protocol.stream_policy is not None
        return RequestContext(
            self.request, self.protocol, self.scorer, self.authenticator, policy=self.protocol.stream_policy
        )

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        """Score groups and texts under the overload policy; see `Scorer.score`."""
        scored = await self.scorer.score(items, self.policy)
        if scored:
            self.model = scored[0].model
        self._num_responses += sum(len(item.rewards) for item in scored)
        return scored

    async def in_time(self, work: Awaitable[T]) -> T:
        """Return the result of an awaitable, or end it at the policy's deadline.

        Raises:
            HTTPException: 504, the deadline has passed.
        """
        deadline = self.policy.deadline_seconds
        try:
            async with asyncio.timeout(deadline):
                return await work
        except TimeoutError as error:
            raise HTTPException(504, f"no rewards within {deadline:g} s", headers={"Retry-After": "1"}) from error

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine, or cancel it when the client disconnects.

        Raises:
            HTTPException: 499, which nobody will read.
        """
        task, left = asyncio.current_task(), False
        assert task is not None

        def leave() -> None:
            nonlocal left
            left = True
            task.cancel()

        try:
            with on_disconnect(self.request.scope, leave):
                return await work
        except asyncio.CancelledError:
            # uncancel() counts the cancellations that remain: somebody else's must go on
            if not left or task.uncancel():
                raise
            raise HTTPException(CLIENT_CLOSED, "the client left before its answer") from None

    def finish(self, response: Response) -> Response:
        """Name the model and the request in the headers of the reply, count the request, and log it."""
        seconds = time.perf_counter() - self._started
        headers = {"x-request-id": self.id, "x-model": self.model.label, "x-model-digest": self.model.digest}
        response.raw_headers += [(name.encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()]
        self.scorer.metrics.request(self.protocol.name, response.status_code, seconds)
        level = logging.WARNING if response.status_code in (500, 504) else logging.INFO
        if log.isEnabledFor(level):
            facts = {**self.facts, "status": response.status_code, "seconds": round(seconds, 6)}
            log.log(level, "request", extra={"facts": facts})
        return response


Reply = Callable[[RequestContext], Awaitable[Response]]
"""What an endpoint does with a request."""
Answer = Callable[[RequestContext, Mapping[str, object]], Coroutine[Any, Any, Any]]
"""The same where request and reply are JSON: a JSON object in, a JSON value out."""
StatusReply = Callable[[Request, Scorer], Awaitable[Response]]


def json_reply(answer: Answer) -> Reply:
    """Return the reply of an endpoint whose request is a JSON object and whose reply is a JSON value."""

    async def reply(context: RequestContext) -> Response:
        body = await read_body(context.request, context.limits.max_body_bytes)
        values = parse_object(body, context.limits)
        return JSONResponse(await context.unless_gone(answer(context, values)))

    return reply
