"""The application: routes, health, metrics, and errors that are always JSON."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.auth import Authenticator, Token
from serving.follow import Follower
from serving.handler import routes_of
from serving.openapi import openapi
from serving.protocol import Protocol
from serving.protocols import load_protocols
from serving.scorer import Scorer

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


def app_of(
    scorer: Scorer,
    *,
    tokens: Mapping[str, Token] | None = None,
    protocol: str | None = None,
    follower: Follower | None = None,
    protocols: Sequence[Protocol] | None = None,
) -> Starlette:
    """Return the application around a scorer, open to all or to the holders of tokens.

    Args:
        scorer: gives the rewards.
        tokens: who may ask, by name.
        protocol: name of the protocol that is served at the root too, without its prefix. Where another protocol has
            the same path, this one gets the request.
        follower: keeps the scorer at the version of an alias.
        protocols: what is served. None: every protocol in `serving/protocols/`.
    """
    authenticator = Authenticator(tokens)
    all_protocols = list(load_protocols().values()) if protocols is None else protocols

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        tasks = [asyncio.create_task(scorer.start())]
        if follower:
            tasks.append(asyncio.create_task(follower.run()))
        yield
        scorer.stop()
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = Starlette(
        routes=[
            *_scoring(scorer, authenticator, all_protocols, protocol),
            *_health(scorer, all_protocols),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _scoring(
    scorer: Scorer, authenticator: Authenticator, protocols: Sequence[Protocol], at_root: str | None
) -> Iterator[Route]:
    """Yield the routes of all protocols. Where two have one path, the first gets the request.

    Several protocols share paths, so each has its own prefix, except those that are at the root and share none.
    """
    for protocol in protocols:
        if protocol.name == at_root:
            yield from routes_of(protocol, scorer, authenticator)
    for protocol in protocols:
        prefix = "" if protocol.at_root else f"/{protocol.name}"
        yield from routes_of(protocol, scorer, authenticator, prefix=prefix)


def _health(scorer: Scorer, protocols: Sequence[Protocol]) -> list[Route]:
    async def live(request: Request) -> JSONResponse:  # noqa: ARG001
        if scorer.loop.dead:
            return JSONResponse({"live": False, "reason": scorer.loop.dead}, 503)
        return JSONResponse({"live": True})

    async def ready(request: Request) -> JSONResponse:  # noqa: ARG001
        if scorer.not_ready:
            return JSONResponse({"ready": False, "reason": scorer.not_ready}, 503)
        if scorer.follow_problem:
            return JSONResponse({"ready": True, "reason": scorer.follow_problem})
        return JSONResponse({"ready": True})

    async def metrics(request: Request) -> Response:  # noqa: ARG001
        return Response(scorer.measured(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def page(request: Request) -> Response:  # noqa: ARG001
        return Response(_PAGE, media_type="text/html", headers=_PAGE_HEADERS)

    async def described(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse(openapi(scorer.model.name, protocols))

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
