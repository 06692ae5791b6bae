"""The application: routes, health, and errors that are always JSON."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rewardlab.engine import Engine
from serving.limits import Limits
from serving.protocols import native, oip
from serving.work import Worker

_DEFAULT_LIMITS = Limits()


def build_app(engine: Engine, *, name: str, version: str, limits: Limits = _DEFAULT_LIMITS) -> Starlette:
    """Return the server's application around one engine; it is ready some time after it starts."""
    worker = Worker(engine, limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        starting = asyncio.create_task(worker.start())
        yield
        worker.stop()
        await asyncio.gather(starting, return_exceptions=True)

    app = Starlette(
        routes=[
            *_health(worker),
            *native.routes(worker, model=f"{name}/{version}"),
            *oip.routes(worker, name=name, version=version),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _health(worker: Worker) -> list[Route]:
    async def live(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({"live": True})

    async def ready(request: Request) -> JSONResponse:  # noqa: ARG001
        if worker.not_ready:
            return JSONResponse({"ready": False, "reason": worker.not_ready}, 503)
        return JSONResponse({"ready": True})

    return [Route("/health/live", live), Route("/health/ready", ready)]


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
