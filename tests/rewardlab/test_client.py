"""The client against the real server over loopback."""

import asyncio
import http.server
import inspect
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from rewardlab.bundle import Bundle
from rewardlab.client import AsyncRemoteReward, RemoteReward
from rewardlab.engine import Engine
from rewardlab.groups import Message
from serving.app import app_of
from serving.auth import Token
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.scorer import Scorer
from tests.served import build_app, running

PROMPT = "What is 2 + 2?"
RESPONSES = ["It is 4.", "", "five"]


class Gate:
    """Counts the requests to an application and turns the first ones away with 503."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.num_requests = 0
        self.num_refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.num_requests += 1
        if self.num_refused <= 0:
            await self.app(scope, receive, send)
            return
        self.num_refused -= 1
        await send({"type": "http.response.start", "status": 503, "headers": [(b"retry-after", b"0")]})
        await send({"type": "http.response.body", "body": b'{"error": "busy"}'})


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine(Bundle.open(tiny_bundle), threads=1)


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[tuple[Gate, str]]:
    gate = Gate(build_app(engine, name="reward-model", version="1"))
    with running(gate) as url:
        yield gate, url


@pytest.fixture
def gate(server: tuple[Gate, str], reward: RemoteReward) -> Gate:
    """Return the gate once the server is ready, open and with its counter at zero."""
    server[0].num_refused = 0
    reward.score(PROMPT, ["a"])
    server[0].num_requests = 0
    return server[0]


@pytest.fixture
def reward(server: tuple[Gate, str]) -> Iterator[RemoteReward]:
    with RemoteReward(server[1] + "/", timeout=30) as remote:
        yield remote


def test_rewards_are_the_engines(reward: RemoteReward, engine: Engine) -> None:
    assert reward.score(PROMPT, RESPONSES) == pytest.approx(engine.score(PROMPT, RESPONSES).rewards, abs=1e-6)
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
    expected = engine.score([Message(**turn) for turn in talk], RESPONSES).rewards
    assert reward.score(talk, RESPONSES) == pytest.approx(expected, abs=1e-6)


def test_a_trainer_calls_it_and_equal_neighbours_share_a_request(reward: RemoteReward, gate: Gate) -> None:
    prompts, completions = ["a", "a", "b", "b", "a"], ["1", "2", "1", "2", "3"]
    rewards = reward(prompts=prompts, completions=completions, completion_ids=[[1]] * 5, trainer_state=None)
    assert gate.num_requests == 3
    assert rewards == [reward.score(*pair)[0] for pair in zip(prompts, [[text] for text in completions], strict=True)]
    assert reward.__name__ == "remote_reward"
    assert reward([], []) == []


def test_conversations_and_their_completions_are_accepted(reward: RemoteReward, gate: Gate) -> None:
    turns = [{"role": "user", "content": PROMPT}]
    said = [[{"role": "assistant", "content": text}] for text in RESPONSES]
    assert reward([turns] * 3, said) == reward([PROMPT] * 3, RESPONSES)
    assert gate.num_requests == 2
    call, result, answer = ("assistant", "add(2, 2)"), ("tool", "4"), ("assistant", "It is 4.")
    completion = [{"role": role, "content": content} for role, content in (call, result, answer)]
    assert reward([PROMPT], [completion]) == reward.score([*turns, *completion[:2]], ["It is 4."])


def test_it_comes_back_when_the_server_is_busy(reward: RemoteReward, gate: Gate) -> None:
    gate.num_refused = 3
    assert reward.score(PROMPT, RESPONSES) == reward.score(PROMPT, RESPONSES)
    assert gate.num_requests == 5


def test_it_gives_up_on_a_busy_server_with_its_reason(server: tuple[Gate, str], gate: Gate) -> None:
    gate.num_refused = 10**6
    with RemoteReward(server[1], timeout=1) as remote, pytest.raises(ConnectionError, match="within 1 s: busy"):
        remote.score(PROMPT, RESPONSES)


def test_it_waits_for_a_server_that_starts(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with RemoteReward(f"http://127.0.0.1:{port}", timeout=30) as remote, ThreadPoolExecutor(1) as pool:
        scoring = pool.submit(remote.score, PROMPT, RESPONSES)
        time.sleep(0.1)
        with running(build_app(engine, name="a", version="1"), socket.create_server(("127.0.0.1", port))):
            assert scoring.result(timeout=30) == pytest.approx(engine.score(PROMPT, RESPONSES).rewards, abs=1e-6)


def test_it_says_where_no_server_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with RemoteReward(url, timeout=0.1) as remote, pytest.raises(ConnectionError, match=f"{url}.*refused"):
        remote.score(PROMPT, RESPONSES)


def test_threads_share_it(reward: RemoteReward, gate: Gate) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: reward.score(f"{index}?", RESPONSES), range(16)))
    assert found == [reward.score(f"{index}?", RESPONSES) for index in range(16)]


def test_a_refusal_is_the_servers_own_words(reward: RemoteReward, gate: Gate) -> None:
    with pytest.raises(ValueError, match=r"422.*responses: a list of at least one string"):
        reward.score(PROMPT, [])
    with pytest.raises(ValueError, match=r"responses\[1\]: valid Unicode"):
        reward.score(PROMPT, ["a", "\udfff"])
    with pytest.raises(ValueError, match="role is one of"):
        reward.score([{"role": "judge", "content": ""}], ["a"])


def test_wrong_arguments_are_refused_before_they_are_sent(reward: RemoteReward) -> None:
    with pytest.raises(ValueError, match="2 prompts and 1 completions"):
        reward(["a", "b"], ["1"])
    for completion in ([], [{"role": "user", "content": "a"}], [{"role": "assistant", "content": None}]):
        with pytest.raises(ValueError, match="end with the assistant's text"):
            reward(["a"], [completion])
    for url in ("localhost:8080", "ftp://a", "http://", "http://a b", "http://a/?q"):
        with pytest.raises(ValueError, match="url is one of a server"):
            RemoteReward(url)
    with pytest.raises(ValueError, match="positive number of seconds"):
        RemoteReward("http://a", timeout=0)


def test_another_kind_of_server_is_noticed() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{other.server_port}"
        with RemoteReward(url, timeout=10) as remote, pytest.raises(RuntimeError, match=r"failed \(501\)"):
            remote.score(PROMPT, RESPONSES)
        thread.join()


def test_the_awaited_client_gives_the_same_and_waits_likewise(reward: RemoteReward, gate: Gate) -> None:
    prompts, completions = ["a", "a", "b", "b", "a"], ["1", "2", "1", "2", "3"]
    expected = reward(prompts, completions)
    gate.num_requests, gate.num_refused = 0, 2

    async def work() -> tuple[list[float], str]:
        async with AsyncRemoteReward(reward.url, timeout=30) as remote:
            assert inspect.iscoroutinefunction(remote.__call__)  # how TRL tells one that is awaited
            return await remote(prompts=prompts, completions=completions, trainer_state=None), remote.__name__

    assert asyncio.run(work()) == (expected, "remote_reward")
    assert gate.num_requests == 5

    async def refused() -> None:
        async with AsyncRemoteReward(reward.url) as remote:
            await remote.score(PROMPT, [])

    with pytest.raises(ValueError, match="responses: a list of at least one string"):
        asyncio.run(refused())


def test_a_token_is_sent(engine: Engine) -> None:
    scorer = Scorer(LoadedModel.of(engine, name="a", version="1"), Limits())
    with running(app_of(scorer, tokens={"me": Token(token="let me in")})) as url:
        with RemoteReward(url, token="let me in", timeout=30) as remote:
            assert len(remote.score(PROMPT, RESPONSES)) == 3
        with RemoteReward(url) as remote, pytest.raises(ValueError, match=r"401.*bearer token"):
            remote.score(PROMPT, RESPONSES)
