"""A real server on a free port, for as long as a block lasts."""

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from rewardlab.engine import Engine
from serving.admission import OverloadPolicy
from serving.app import app_of
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.protocols import load_protocols
from serving.scorer import Scorer
from serving.uvicorn_hooks import Connection


def overload_policies() -> dict[str, OverloadPolicy]:
    """Return the overload policy of each protocol by its name, and that of streams of JSON lines as `stream`."""
    policies = {name: protocol.policy for name, protocol in load_protocols().items()}
    (stream,) = (protocol.stream_policy for protocol in load_protocols().values() if protocol.stream_policy)
    return {**policies, "stream": stream}


def build_app(engine: Engine, *, name: str, version: str, limits: Limits | None = None) -> Starlette:
    """Return the server's application around one engine; it is ready some time after it starts."""
    return app_of(Scorer(LoadedModel.of(engine, name=name, version=version), limits or Limits()))


@contextlib.contextmanager
def running(app: ASGIApp, listener: socket.socket | None = None) -> Iterator[str]:
    """Yield the URL of an application that is served from a thread."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=Connection, loop="uvloop", log_level="critical"))
    with listener, ThreadPoolExecutor(1) as pool:
        pool.submit(server.run, sockets=[listener])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True


def settled(url: str) -> None:
    """Wait until a server is ready."""
    for _ in range(600):
        answer = httpx.get(f"{url}/health/ready")
        if answer.status_code == 200:
            return
        time.sleep(0.05)
    raise AssertionError(answer.text)
