"""Streams of JSON lines: each line is scored on its own, and answered in the order it came, as soon as it is done."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.limits import parse_object
from serving.protocol import Answer, RequestContext
from serving.scorer import reason

NDJSON = "application/x-ndjson"
LINES_IN_WORK = 256
"""More than the engine can batch; the body is read no further while so many are unanswered."""


class Lines(Response):
    """Answers each line of a request's body with a line; one that cannot be scored is answered `{id?, error}`.

    Reading never waits for writing, so that a client which sends its whole body first cannot lock up with the server;
    what it has not read of the answers waits here.
    """

    def __init__(self, context: RequestContext, answer: Answer) -> None:
        super().__init__(media_type=NDJSON)
        del self.headers["content-length"]
        self._context = context
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Serve the stream; when the client leaves, no more of it is scored."""
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
        tasks: set[asyncio.Task[bytes]] = set()
        context = self._context
        async with context.authenticator.caller(context.request.headers, context.policy):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            reading = asyncio.create_task(self._read(answers, tasks))
            try:
                while (task := await answers.get()) is not None:
                    await send({"type": "http.response.body", "body": await task, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            finally:
                for each in (reading, *tasks):
                    each.cancel()
                await asyncio.gather(reading, *tasks, return_exceptions=True)

    async def _read(
        self, answers: "asyncio.Queue[asyncio.Task[bytes] | None]", tasks: set["asyncio.Task[bytes]"]
    ) -> None:
        room = asyncio.Semaphore(LINES_IN_WORK)
        try:
            async for line in self._lines():
                await room.acquire()
                task = asyncio.create_task(self._one(line))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(lambda _: room.release())
                answers.put_nowait(task)
        except ClientDisconnect:
            for task in tuple(tasks):
                task.cancel()
        finally:
            answers.put_nowait(None)

    async def _lines(self) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self._context.request.stream():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line
            if len(rest) > self._context.limits.max_body_bytes:
                yield rest  # its answer is why, and there is no telling where the next line begins
                return
        if rest:
            yield rest

    async def _one(self, line: bytes) -> bytes:
        identity: Mapping[str, object] = {}
        try:
            values = parse_object(line, self._context.limits)
            identity = {"id": values["id"]} if "id" in values else {}
            rest = {key: value for key, value in values.items() if key != "id"}
            answer = {**identity, **await self._context.in_time(self._answer(self._context, rest))}
        except HTTPException as error:
            answer = {**identity, "rewards": None, "error": error.detail}
        except Exception as error:
            answer = {**identity, "rewards": None, "error": reason(error)}
        return json.dumps(answer, allow_nan=False).encode() + b"\n"
