"""The end of a server: who is held is told at once, and what is in work is finished."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from rewardlab.bundle import Bundle
from serving.app import app_of
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.scorer import Scorer
from serving.uvicorn_hooks import Connection, Server
from tests.served import settled
from tests.serving.test_loop import Watched


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def ending(scorer: Scorer, engine: Watched) -> Iterator[tuple[Server, Callable[[str], Future[httpx.Response]]]]:
    """Yield a server that runs in a thread, and a function that asks it in another."""
    server = Server(uvicorn.Config(app_of(scorer), http=Connection, loop="uvloop", log_level="critical"), scorer)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(3) as pool:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def ask(text: str) -> Future[httpx.Response]:
            body = {"prompt": "Hi", "responses": [text]}
            return pool.submit(httpx.post, f"{url}/v1/rewards", json=body, timeout=30)

        pool.submit(server.run, sockets=[listener])
        try:
            settled(url)
            yield server, ask
        finally:
            engine.free.set()
            server.should_exit = True


def test_who_is_held_is_told_at_once_and_what_is_in_work_is_finished(tiny_bundle: Path) -> None:
    engine = Watched(Bundle.open(tiny_bundle))
    scorer = Scorer(LoadedModel.of(engine, name="a", version="1"), Limits(max_queue_seconds=1e-6))
    with ending(scorer, engine) as (server, ask):
        engine.free.clear()
        in_work = ask("in work")
        until(lambda: bool(scorer.loop._running))
        held = ask("held")
        until(lambda: scorer.admission.num_held == 1)
        server.should_exit = True  # what uvicorn does on SIGTERM
        told = held.result(15)  # the native protocol would hold it for 20 s
        assert (told.status_code, told.json()) == (503, {"error": "the server is shutting down"})
        assert int(told.headers["Retry-After"]) >= 1
        assert not in_work.done()
        engine.free.set()
        assert in_work.result(30).status_code == 200
