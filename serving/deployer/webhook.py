"""MLflow's webhook: a signed delivery makes the deployer look at once; what it says is not believed, only looked up."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from serving.logs import log

LARGEST_BYTES = 64 * 1024
FRESH_SECONDS = 300.0
"""A delivery may be so old: an older one is a replay."""


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> bool:
    """Say whether MLflow signed a delivery with the secret, lately.

    The signature is `v1,` and the base64 of HMAC-SHA256 over `DELIVERY_ID.TIMESTAMP.BODY`
    (mlflow.webhooks.delivery, 3.17).
    """
    delivery, stamp = headers.get("x-mlflow-delivery-id", ""), headers.get("x-mlflow-timestamp", "")
    if not delivery or not stamp.isdecimal() or abs(now - int(stamp)) > FRESH_SECONDS:
        return False
    signed = f"{delivery}.{stamp}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(wanted.encode(), headers.get("x-mlflow-signature", "").encode())


class Reconciler:
    """Takes a step every so many seconds, and at once when woken; a step that fails is taken again at the next time."""

    def __init__(self, step: Callable[[], str], *, seconds: float) -> None:
        self._step = step
        self._seconds = seconds
        self._woken = asyncio.Event()
        self.state = ""
        self.problem = "no step has been taken yet"
        self.at = time.monotonic()

    def wake(self) -> None:
        """Let the next step begin: on the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Take steps, for ever."""
        while True:
            self._woken.clear()
            await asyncio.to_thread(self._take)
            try:
                await asyncio.wait_for(self._woken.wait(), self._seconds)
            except TimeoutError:
                continue

    @property
    def is_stuck(self) -> bool:
        """Say whether a step has been going on for far too long."""
        return time.monotonic() - self.at > 10 * self._seconds + 120

    def _take(self) -> None:
        self.at = time.monotonic()
        try:
            state = self._step()
        except Exception as error:  # whatever registry and cluster do, the next step begins from what then is
            self.problem = f"{type(error).__name__}: {error}"
            log.error("a step failed, what is served stays: %s", self.problem)
            return
        if state != self.state or self.problem:
            log.warning("%s", state)
        self.state, self.problem = state, ""


def app_of(reconciler: Reconciler, secret: str) -> Starlette:
    """Return the application: the webhook and the deployer's health.

    Args:
        reconciler: is woken by deliveries.
        secret: signs them.
    """

    async def webhook(request: Request) -> JSONResponse:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BYTES:
                return JSONResponse({"error": f"a delivery has at most {LARGEST_BYTES} bytes"}, 413)
        if not is_signed(secret, request.headers, body, now=time.time()):
            log.warning("a delivery without a valid signature was refused")
            return JSONResponse({"error": "not signed with the webhook's secret, or too old"}, 401)
        reconciler.wake()
        return JSONResponse({"accepted": True}, 202)

    async def live(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({"live": not reconciler.is_stuck}, 503 if reconciler.is_stuck else 200)

    async def ready(request: Request) -> JSONResponse:  # noqa: ARG001
        if reconciler.problem:
            return JSONResponse({"ready": False, "reason": reconciler.problem}, 503)
        return JSONResponse({"ready": True, "reason": reconciler.state})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        task = asyncio.create_task(reconciler.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    routes = [
        Route("/webhook", webhook, methods=["POST"]),
        Route("/health/live", live),
        Route("/health/ready", ready),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
