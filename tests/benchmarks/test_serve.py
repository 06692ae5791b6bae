"""What the server is measured with: its load, its emulated trainers, the lengths it is asked for."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bundles import MEAN_TOKENS, P95_TOKENS, lengths, texts
from benchmarks.load import ask, closed_loop, request
from benchmarks.serve_http import renderer
from benchmarks.server_process import serving
from benchmarks.trainers import Trainers
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from serving.app import app_of
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.scorer import Scorer
from tests.served import running, settled


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine(Bundle.open(tiny_bundle), threads=1)


@pytest.fixture(scope="module")
def port(engine: Engine) -> Iterator[int]:
    with running(app_of(Scorer(LoadedModel.of(engine, name="small", version="1"), Limits()))) as url:
        settled(url)
        yield int(url.rpartition(":")[2])


def test_every_emulated_trainer_gets_the_engines_rewards(port: int, tiny_bundle: Path, engine: Engine) -> None:
    async def asked() -> dict[str, list[float | None]]:
        trainers = Trainers(port, renderer(tiny_bundle))
        found = {name: await kind("Hi", ["a", "b c"]) for name, kind in trainers.kinds.items()}
        await trainers.close()
        return found

    expected = list(engine.score("Hi", ["a", "b c"]).rewards)
    assert asyncio.run(asked()) == dict.fromkeys(("openrlhf", "verl", "slime", "llamafactory", "trl"), expected)


def test_each_trainer_gives_up_in_its_own_way(port: int, tiny_bundle: Path) -> None:
    async def asked() -> list[list[float | None]]:
        trainers = Trainers(port, lambda _prompt, response: response)  # texts that no template has rendered: 422
        found = [await trainers.kinds[name]("Hi", ["a"]) for name in ("verl", "llamafactory")]
        await trainers.close()
        return found

    assert asyncio.run(asked()) == [[None], [None]]


def test_a_load_is_every_message_once(port: int) -> None:
    messages = [request("/v1/rewards", {"prompt": f"{n}", "responses": ["a", "\ud800"[n % 2 :]]}) for n in range(40)]
    load = asyncio.run(closed_loop(port, messages, clients=7))
    assert load.statuses() == {200: 20, 422: 20}
    assert min(load.latencies) <= load.quantile(0.5) <= load.quantile(0.99) <= max(load.latencies) <= load.seconds
    status, headers, body = asyncio.run(ask(port, messages[1]))
    assert (status, headers["x-model"], int(headers["content-length"])) == (200, "small/1", len(body))


def test_lengths_are_lognormal_with_the_mean_and_percentile_that_are_asked_for() -> None:
    drawn = lengths(100_000, seed=0)
    assert np.mean(drawn) == pytest.approx(MEAN_TOKENS, rel=0.03)
    assert np.percentile(drawn, 95) == pytest.approx(P95_TOKENS, rel=0.03)


def test_a_text_has_a_word_for_each_token(tiny_bundle: Path) -> None:
    sizes = [16, 30, 301]
    pairs = list(texts(tiny_bundle, sizes, seed=0))
    assert [len(f"{prompt} {response}".split()) for prompt, response in pairs] == sizes


def test_a_server_is_watched_from_outside(tiny_bundle: Path) -> None:
    with serving(tiny_bundle, "--threads", "1") as server:
        asyncio.run(
            closed_loop(server.port, [request("/v1/rewards", {"prompt": "a", "responses": ["b"]})] * 50, clients=5)
        )
        assert server.health() == {"live": 200, "ready": 200}
        assert server.metrics()['rewardlab_requests_total{dialect="native",status="200"}'] == 50
        assert server.start_seconds > 0
        assert server.cpu_seconds() > 0
        assert server.resident_mb() > 50
        assert server.num_files() > 3
