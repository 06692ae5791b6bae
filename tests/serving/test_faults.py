"""The table of faults over HTTP, protocol by protocol: full, too late, left, hung, too large."""

import json
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

import serving.loop
from rewardlab.bundle import Bundle
from rewardlab.chat import render
from rewardlab.groups import Message
from serving.app import app_of
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.protocol import Protocol
from serving.protocols import load_protocols
from serving.scorer import Scorer
from tests.protocol_requests import REQUESTS
from tests.served import overload_policies, running, settled
from tests.serving.test_loop import Watched, waiting
from tests.serving.test_uvicorn_hooks import until

NDJSON = {"Content-Type": "application/x-ndjson"}
POLICIES = overload_policies()


@dataclass(frozen=True)
class Site:
    """A server whose engine a test stops and frees."""

    url: str
    scorer: Scorer
    engine: Watched
    pool: ThreadPoolExecutor

    def ask(self, protocol: str) -> Future[httpx.Response]:
        request = REQUESTS[protocol]
        headers = NDJSON if protocol == "stream" else None
        content = json.dumps(request.body).replace("WHOLE", json.dumps(whole(self.engine))[1:-1])
        return self.pool.submit(httpx.post, self.url + request.path, content=content, headers=headers, timeout=30)

    def native(self, response: str) -> Future[httpx.Response]:
        body = {"prompt": "Hi", "responses": [response]}
        return self.pool.submit(httpx.post, f"{self.url}/v1/rewards", json=body, timeout=30)


def whole(engine: Watched) -> str:
    readout = engine.bundle.readout
    turns = (Message("user", "Hi"), Message("assistant", "a"))
    return render(readout.template, turns, special_tokens=readout.special_tokens, add_generation_prompt=False)


@contextmanager
def site(bundle: Path, limits: Limits | None = None, protocols: Sequence[Protocol] | None = None) -> Iterator[Site]:
    engine = Watched(Bundle.open(bundle))
    scorer = Scorer(LoadedModel.of(engine, name="small", version="1"), limits or Limits())
    with ThreadPoolExecutor(4) as pool, running(app_of(scorer, protocols=protocols)) as url:
        settled(url)
        try:
            yield Site(url, scorer, engine, pool)
        finally:
            engine.free.set()


@contextmanager
def busy(here: Site) -> Iterator[Future[httpx.Response]]:
    """Hold the engine at one batch, and let it go."""
    here.engine.free.clear()
    asked = here.native("busy")
    until(lambda: bool(here.scorer.loop._running))
    yield asked
    here.engine.free.set()
    assert asked.result(30).status_code == 200


@pytest.fixture(scope="module")
def full(tiny_bundle: Path) -> Iterator[Site]:
    """A server in which any work at all is too much to let others in."""
    with site(tiny_bundle, Limits(max_queue_seconds=1e-6)) as here:
        yield here


def test_there_is_a_request_for_every_protocol() -> None:
    assert set(REQUESTS) == set(POLICIES)


def test_every_protocol_gives_the_native_reward(tiny_bundle: Path) -> None:
    with site(tiny_bundle) as here:
        answers = {name: here.ask(name).result(30).json() for name in REQUESTS}
    rewards = {name: request.reward(answers[name]) for name, request in REQUESTS.items()}
    assert rewards == dict.fromkeys(REQUESTS, rewards["native"])


@pytest.mark.parametrize("protocol", [name for name, policy in POLICIES.items() if policy.hold_seconds])
def test_a_client_that_does_not_survive_an_error_is_held(full: Site, protocol: str) -> None:
    with busy(full):
        held = full.ask(protocol)
        until(lambda: full.scorer.admission.num_held == 1)
        assert not held.done() or protocol == "stream"  # a stream's head is sent at once
    assert held.result(30).status_code == 200
    assert "error" not in held.result().text


@pytest.mark.parametrize("protocol", [name for name, policy in POLICIES.items() if not policy.hold_seconds])
def test_a_client_that_asks_another_replica_is_sent_away(full: Site, protocol: str) -> None:
    with busy(full):
        told = full.ask(protocol).result(30)
        assert full.scorer.admission.num_held == 0
    assert told.status_code == POLICIES[protocol].full_status
    assert int(told.headers["Retry-After"]) >= 1
    assert "waiting already" in told.text
    assert full.ask(protocol).result(30).status_code == 200


def test_who_is_sent_away_is_told_before_the_body_is_read(full: Site) -> None:
    head = b"POST /vllm/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with busy(full), socket.create_connection(("127.0.0.1", int(full.url.rpartition(":")[2])), timeout=30) as client:
        client.sendall(head)
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")


def impatient(name: str) -> Protocol:
    """Return a protocol whose deadline is soon."""
    return replace(load_protocols()[name], policy=replace(POLICIES[name], deadline_seconds=0.3))


@pytest.mark.parametrize("protocol", [name for name in REQUESTS if name != "stream"])
def test_after_its_deadline_a_request_is_answered_504_and_not_computed(tiny_bundle: Path, protocol: str) -> None:
    protocols = {**load_protocols(), protocol: impatient(protocol)}
    with site(tiny_bundle, protocols=list(protocols.values())) as here:
        here.engine.free.clear()
        first = here.ask("slime" if protocol != "slime" else "verl")
        until(lambda: bool(here.scorer.loop._running))
        late = here.ask(protocol)
        assert (late.result(30).status_code, late.result().headers["Retry-After"]) == (504, "1")
        assert "no rewards within 0.3 s" in late.result().text
        here.engine.free.set()
        assert first.result(30).status_code == 200
        assert here.scorer.loop.outstanding == 0


def test_after_its_deadline_a_line_of_a_stream_is_told_so_and_not_computed(tiny_bundle: Path) -> None:
    protocol = replace(load_protocols()["native"], stream_policy=replace(POLICIES["stream"], deadline_seconds=0.3))
    with site(tiny_bundle, protocols=[protocol]) as here:
        with busy(here):
            late = here.ask("stream").result(30)
            assert late.status_code == 200  # sent with the head, before anything was scored
            assert json.loads(late.text) == {"rewards": None, "error": "no rewards within 0.3 s"}
            until(lambda: waiting(here.scorer) == 1)
        assert "rewards" in here.ask("stream").result(30).json()
        assert here.scorer.loop.outstanding == 0


def test_what_only_a_client_that_left_waited_for_is_not_computed(tiny_bundle: Path) -> None:
    with site(tiny_bundle) as here:
        body = json.dumps({"prompt": "Hi", "responses": ["never computed"]})
        head = f"POST /v1/rewards HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with busy(here):
            with socket.create_connection(("127.0.0.1", int(here.url.rpartition(":")[2]))) as client:
                client.sendall((head + body).encode())
                until(lambda: waiting(here.scorer) == 2)
            until(lambda: waiting(here.scorer) == 1)
        counted = 'rewardlab_requests_total{dialect="native",status="499"} 1.0'
        until(lambda: counted in httpx.get(f"{here.url}/metrics").text)
        (never,) = here.scorer.model.tokenize(group("never computed"))[0].responses
        assert never not in [ids for batch in here.engine.batches for tree in batch for ids in tree.responses]


def group(response: str) -> Any:
    from rewardlab.groups import messages
    from serving.loaded_model import Group

    return Group(messages("Hi"), [response])


def test_a_batch_that_hangs_makes_the_server_neither_alive_nor_ready(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(tiny_bundle) as here:
        with busy(here):
            monkeypatch.setattr(serving.loop, "LONGEST_BATCH_SECONDS", 0.0)
            for path in ("/health/live", "/health/ready", "/v2/health/ready", "/nemo/v2/health/live"):
                assert httpx.get(here.url + path).status_code == 503
            assert here.native("b").result(30).status_code == 503
            monkeypatch.undo()
        assert httpx.get(f"{here.url}/health/live").status_code == 200


def test_an_item_may_be_smaller_than_a_body_alone() -> None:
    assert Limits().max_item_bytes < Limits().max_body_bytes
    with pytest.raises(ValueError, match="max_item_bytes 100 is not below max_body_bytes 100"):
        Limits(max_item_bytes=100, max_body_bytes=100)
