"""The application: routes, health, metrics, and errors that are always JSON."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from types import ModuleType

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rewardlab.engine import Engine
from serving.desk import Desk
from serving.follow import Follower
from serving.limits import Limits
from serving.openapi import openapi
from serving.protocols import kserve, llamafactory, native, nemo, oip, openrlhf, sglang, slime, tei, verl, vllm
from serving.served import Served
from serving.tokens import Guard, Token
from serving.work import Worker

_DEFAULT_LIMITS = Limits()
_PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The page is one file that asks nobody but this server."""
_AT_THE_ROOT: dict[str, ModuleType] = {"native": native, "oip": oip, "kserve": kserve}
DIALECTS: dict[str, ModuleType] = {
    "openrlhf": openrlhf,
    "verl": verl,
    "vllm": vllm,
    "sglang": sglang,
    "slime": slime,
    "llamafactory": llamafactory,
    "nemo": nemo,
    "tei": tei,
}
"""Each under its own prefix, since several share a path; one of them may be at the root too."""


def build_app(engine: Engine, *, name: str, version: str, limits: Limits = _DEFAULT_LIMITS) -> Starlette:
    """Return the server's application around one engine; it is ready some time after it starts."""
    return app_of(Worker(Served.of(engine, name=name, version=version), limits))


def app_of(
    worker: Worker,
    *,
    tokens: Mapping[str, Token] | None = None,
    dialect: str | None = None,
    follower: Follower | None = None,
) -> Starlette:
    """Return the application around a worker, open to all or to the holders of tokens.

    Args:
        worker: scores.
        tokens: who may ask, by name.
        follower: keeps the worker at an alias.
        dialect: which of `DIALECTS` is spoken at the root, before the native protocol and those that are always there.
    """
    guard = Guard(tokens)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        tasks = [asyncio.create_task(worker.start())]
        if follower:
            tasks.append(asyncio.create_task(follower.run()))
        yield
        worker.stop()
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = Starlette(
        routes=[
            *_spoken(worker, guard, dialect),
            *_health(worker),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _spoken(worker: Worker, guard: Guard, dialect: str | None) -> Iterator[Route]:
    """Yield the routes of all protocols; of two at one path the first is asked."""
    if dialect:
        yield from DIALECTS[dialect].routes(Desk(dialect, worker, guard))
    for name, module in _AT_THE_ROOT.items():
        yield from module.routes(Desk(name, worker, guard))
    for name, module in DIALECTS.items():
        yield from module.routes(Desk(name, worker, guard, prefix=f"/{name}"))


def _health(worker: Worker) -> list[Route]:
    async def live(request: Request) -> JSONResponse:  # noqa: ARG001
        if worker.loop.dead:
            return JSONResponse({"live": False, "reason": worker.loop.dead}, 503)
        return JSONResponse({"live": True})

    async def ready(request: Request) -> JSONResponse:  # noqa: ARG001
        if worker.not_ready:
            return JSONResponse({"ready": False, "reason": worker.not_ready}, 503)
        if worker.follow_problem:
            return JSONResponse({"ready": True, "reason": worker.follow_problem})
        return JSONResponse({"ready": True})

    async def metrics(request: Request) -> Response:  # noqa: ARG001
        return Response(worker.measured(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def page(request: Request) -> Response:  # noqa: ARG001
        return Response(_PAGE, media_type="text/html", headers=_PAGE_HEADERS)

    async def described(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse(openapi(worker.served.name))

    return [
        Route("/", page),
        Route("/openapi.json", described),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/health", ready),
        Route("/metrics", metrics),
    ]


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"there is no {request.url.path!r} here"
    if error.status_code == 405:
        detail = f"{request.url.path!r} does not take {request.method}"
    return JSONResponse({"error": detail}, error.status_code, headers=error.headers)


async def _failed(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    return JSONResponse({"error": f"the server failed on this request: {type(error).__name__}"}, 500)
