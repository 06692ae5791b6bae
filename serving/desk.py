"""A dialect's desk: reads its requests, has them scored under its manners, and answers whatever happens."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.leaving import told_of_leaving
from serving.limits import read_object
from serving.logs import log
from serving.manners import MANNERS
from serving.served import Item, Served
from serving.tokens import Guard
from serving.work import Scored, Worker

T = TypeVar("T")
LEFT = 499
"""What is counted and logged for a client that left before its answer."""
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Desk:
    """One dialect's way to the worker."""

    def __init__(self, dialect: str, worker: Worker, guard: Guard, *, prefix: str = "") -> None:
        self.dialect = dialect
        self.prefix = prefix
        self.manners = MANNERS[dialect]
        self.worker = worker
        self.guard = guard

    def post(self, path: str, answer: "Answer") -> Route:
        """Return a route whose request is a JSON object and whose reply is what `answer` makes of it."""

        async def reply(call: "Call") -> Response:
            values = await read_object(call.request, self.worker.limits)
            return JSONResponse(await call.unless_gone(answer(call, values)))

        return self.route(path, reply)

    def route(self, path: str, reply: "Reply") -> Route:
        """Return a route for POST; whatever fails in `reply` becomes an error of this dialect."""
        return Route(self.prefix + path, _Endpoint(self, reply), methods=["POST"])

    async def answered(self, call: "Call", reply: "Reply") -> Response:
        """Return the reply to a request, or the error that it ends in."""
        try:
            async with self.guard.visit(call.request.headers, self.manners) as call.caller:
                self.worker.door.look_in(self.manners)
                return await self.in_time(reply(call))
        except HTTPException as error:
            return _error(error.status_code, error.detail, dict(error.headers or {}))
        except ValueError as error:
            return _error(self.manners.refusal_status, str(error))
        except Exception as error:
            log.exception("a request failed: %s", type(error).__name__, extra={"facts": call.facts})
            return _error(500, f"the server failed on this request: {type(error).__name__}")

    async def in_time(self, work: Awaitable[T]) -> T:
        """Return what a piece of work gives, or end it at the dialect's deadline.

        Raises:
            HTTPException: 504, it was not done by then.
        """
        try:
            async with asyncio.timeout(self.manners.deadline_seconds):
                return await work
        except TimeoutError as error:
            limit = self.manners.deadline_seconds
            raise HTTPException(504, f"no rewards within {limit:g} s", headers={"Retry-After": "1"}) from error


class _Endpoint:
    """A route's application; as it catches whatever happens, Starlette need not wrap it once more for that."""

    def __init__(self, desk: Desk, reply: "Reply") -> None:
        self._desk = desk
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(self._desk, Request(scope, receive, send))
        response = call.finish(await self._desk.answered(call, self._reply))
        await response(scope, receive, send)


class Call:
    """One request: who asks, what was scored for it, and what is said of it in the log."""

    def __init__(self, desk: Desk, request: Request) -> None:
        self.desk = desk
        self.request = request
        self.caller: str | None = None
        self.served: Served = desk.worker.served
        self._started = time.perf_counter()
        self._num_responses = 0
        given = request.headers.get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the log says of the request."""
        return {
            "request_id": self.id,
            "dialect": self.desk.dialect,
            "path": self.request.scope["path"],
            "caller": self.caller,
            "responses": self._num_responses,
            "model": self.served.label,
        }

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        """Score groups and texts under the desk's manners; see `Worker.score`."""
        scored = await self.desk.worker.score(items, self.desk.manners)
        if scored:
            self.served = scored[0].served
        self._num_responses += sum(len(each.rewards) for each in scored)
        return scored

    async def unless_gone(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return what a piece of work gives, or end it as soon as the client has left.

        Raises:
            HTTPException: 499, which nobody will read.
        """
        me, left = asyncio.current_task(), False
        assert me is not None

        def leave() -> None:
            nonlocal left
            left = True
            me.cancel()

        try:
            with told_of_leaving(self.request.scope, leave):
                return await work
        except asyncio.CancelledError:
            if not left or me.uncancel():  # somebody else wants the end of it too
                raise
            raise HTTPException(LEFT, "the client left before its answer") from None

    def finish(self, response: Response) -> Response:
        """Name the model and the request in a reply, count it, and log it."""
        seconds = time.perf_counter() - self._started
        told = {"x-request-id": self.id, "x-model": self.served.label, "x-model-digest": self.served.digest}
        response.raw_headers += [(name.encode("latin-1"), text.encode("latin-1")) for name, text in told.items()]
        self.desk.worker.metrics.request(self.desk.dialect, response.status_code, seconds)
        level = logging.WARNING if response.status_code in (500, 504) else logging.INFO
        if log.isEnabledFor(level):
            facts = {**self.facts, "status": response.status_code, "seconds": round(seconds, 6)}
            log.log(level, "request", extra={"facts": facts})
        return response


Reply = Callable[[Call], Awaitable[Response]]


Answer = Callable[[Call, dict[str, Any]], Coroutine[Any, Any, Any]]


def rewards(scored: Scored, where: str = "responses") -> list[float]:
    """Return one reward for each response.

    Raises:
        ValueError: a response could not be read; the message names each.
        HTTPException: 500, the model gave no reward for one.
    """
    if scored.errors:
        raise failure([(f"{where}[{index}]", error) for index, error in scored.errors.items()])
    return [reward for reward in scored.rewards if reward is not None]


def each_reward(scored: Sequence[Scored], where: str) -> list[float]:
    """Return the one reward of each item.

    Raises:
        ValueError, HTTPException: as `rewards`, for all items that failed.
    """
    errors = [(f"{where}[{index}]", error) for index, each in enumerate(scored) for error in each.errors.values()]
    if errors:
        raise failure(errors)
    return [reward for each in scored for reward in each.rewards if reward is not None]


def failure(errors: Sequence[tuple[str, Exception]]) -> Exception:
    """Return the error that names each item that failed."""
    told = "; ".join(f"{where}: {reason(error)}" for where, error in errors)
    bad_input = all(isinstance(error, ValueError) for _, error in errors)
    return ValueError(told) if bad_input else HTTPException(500, told)


def reason(error: Exception) -> str:
    """Return what a client is told: what the engine says of itself stays in the log."""
    if isinstance(error, ValueError):
        return str(error)
    return f"a reward is not finite: {error}" if isinstance(error, ArithmeticError) else "the engine failed on it"


def _error(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    told = detail.encode(errors="backslashreplace").decode()  # a message may quote what is no valid Unicode
    return JSONResponse({"error": told}, status, headers=headers)
