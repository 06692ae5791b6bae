"""The application: routes, health, metrics, and errors that are always JSON."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rewardlab.engine import Engine
from serving.desk import Desk
from serving.limits import Limits
from serving.protocols import native, oip
from serving.served import Served
from serving.tokens import Guard, Token
from serving.work import Worker

_DEFAULT_LIMITS = Limits()
_AT_THE_ROOT = {"native": native, "oip": oip}


def build_app(engine: Engine, *, name: str, version: str, limits: Limits = _DEFAULT_LIMITS) -> Starlette:
    """Return the server's application around one engine; it is ready some time after it starts."""
    return app_of(Worker(Served.of(engine, name=name, version=version), limits))


def app_of(worker: Worker, *, tokens: Mapping[str, Token] | None = None) -> Starlette:
    """Return the application around a worker, open to all or to the holders of tokens."""
    guard = Guard(tokens)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        starting = asyncio.create_task(worker.start())
        yield
        worker.stop()
        await asyncio.gather(starting, return_exceptions=True)

    app = Starlette(
        routes=[
            *(route for name, module in _AT_THE_ROOT.items() for route in module.routes(Desk(name, worker, guard))),
            *_health(worker),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _health(worker: Worker) -> list[Route]:
    async def live(request: Request) -> JSONResponse:  # noqa: ARG001
        if worker.loop.dead:
            return JSONResponse({"live": False, "reason": worker.loop.dead}, 503)
        return JSONResponse({"live": True})

    async def ready(request: Request) -> JSONResponse:  # noqa: ARG001
        if worker.not_ready:
            return JSONResponse({"ready": False, "reason": worker.not_ready}, 503)
        return JSONResponse({"ready": True})

    async def metrics(request: Request) -> Response:  # noqa: ARG001
        return Response(worker.measured(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
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
