"""A server's life: from its start to ready, its memory after outliers and mixed shapes, and twenty swaps under load."""

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.bundles import make_bundle, texts
from benchmarks.harness import Row, at_most
from benchmarks.load import Answer, Load, closed_loop, measured, request, timed
from benchmarks.server_process import ServerProcess, following, serving
from rewardlab.bundle import Bundle
from rewardlab.files import write_json

OUTLIER_RESPONSES, OUTLIER_TOKENS = 16, 512
STARTS = 5
SWAP_CLIENTS, PAUSE_SECONDS = 4, 0.05
SETTLE_SECONDS = 3
"""A model goes when the last request that it was read for is answered."""
NAME = "swapped"


def memory(place: Path, *, shapes: int) -> list[Row]:
    """Return row 17: the growth of a server that has scored, after one outlier and then many mixed shapes."""
    bundle = make_bundle("minilm", place, int8=True)
    rng = random.Random(17)

    def message(num: int, size: int) -> bytes:
        pairs = list(texts(bundle, [size] * num, seed=rng.randrange(2**30)))
        return request("/v1/rewards", {"prompt": pairs[0][0], "responses": [response for _, response in pairs]})

    mixed = [message(rng.randrange(1, 5), rng.randrange(8, 200)) for _ in range(shapes)]
    with serving(bundle) as server:
        asyncio.run(closed_loop(server.port, mixed[: shapes // 100], clients=8))
        before = server.resident_mb()
        asyncio.run(closed_loop(server.port, [message(OUTLIER_RESPONSES, OUTLIER_TOKENS)], clients=1))
        outlier = server.resident_mb() - before
        load = asyncio.run(closed_loop(server.port, mixed, clients=8))
        growth = server.resident_mb() - before
    why = f"{outlier:.0f} MB after the outlier, of {before:.0f} before; {load.statuses()}"
    return [at_most(17, f"memory after a 16 x 512 and {shapes} mixed shapes", growth, "MB", 150.0, why)]


def start(place: Path) -> list[Row]:
    """Return row 18: `python -m serving` to ready, hashes and golden texts checked, the 135M decoder in fp32."""
    bundle = make_bundle("smollm2", place)
    taken, cpu = [], []
    for _ in range(STARTS):
        with serving(bundle) as server:
            taken.append(server.start_seconds)
            cpu.append(server.cpu_seconds())
    why = f"{min(taken):.3g} to {max(taken):.3g} in {STARTS} starts, {statistics.median(cpu):.3g} CPU s of two cores"
    return [at_most(18, "start to ready, 135M", statistics.median(taken), "s", 5.0, why)]


def swaps(place: Path, *, count: int, seconds: float) -> list[Row]:
    """Return the rows of swaps: a server follows an alias that is moved to and fro, while clients ask."""
    from tests.mlflow_server import mlflow_server

    bundles = [make_bundle("minilm", place, int8=True, seed=seed) for seed in (0, 1)]
    pairs = texts(bundles[0], [64] * 512, seed=10)
    messages = [request("/v1/rewards", {"prompt": prompt, "responses": [response]}) for prompt, response in pairs]
    with tempfile.TemporaryDirectory() as folder, mlflow_server(Path(folder)) as registry:
        move = _registered(bundles, registry, Path(folder))
        move(0)
        with following(f"models:/{NAME}@production", registry, "--follow-seconds", "0.5") as server:
            calm = asyncio.run(_asked(server, messages, lambda: time.sleep(seconds)))
            resident = server.resident_mb()
            busy = asyncio.run(_asked(server, messages, lambda: _move(server, move, count)))
            return _swap_rows(calm, busy, server.resident_mb() / resident, count)


def _registered(bundles: Sequence[Path], registry: str, folder: Path) -> Callable[[int], None]:
    """Register the bundles; return what moves the alias to one of them."""
    from steps.register import RegisterConfig, register
    from steps.registry.client import connect

    os.environ["MLFLOW_TRACKING_URI"] = registry
    versions = []
    for number, bundle in enumerate(bundles):
        gate = {"verdict": "pass", "reason": "", "bundle": Bundle.open(bundle).digest, "test_digest": "t"}
        write_json(folder / "gate.json", gate)
        config = RegisterConfig(name=NAME, run_id=str(number), lineage={"recipe": "random"}, data_md5="none")
        versions.append(register(config, bundle, {"gate": folder / "gate.json"}).version)
    client = connect()
    return lambda number: client.set_registered_model_alias(NAME, "production", versions[number])


async def _asked(server: ServerProcess, messages: Sequence[bytes], until: Callable[[], None]) -> Load:
    """Let clients ask, with pauses, until a function that runs beside them has returned."""
    doing = asyncio.create_task(asyncio.to_thread(until))

    async def client() -> list[tuple[float, Answer]]:
        found = []
        while not doing.done():
            found.append(await timed(server.port, random.choice(messages)))
            await asyncio.sleep(PAUSE_SECONDS)
        return found

    load = await measured([client] * SWAP_CLIENTS)
    await doing
    return load


def _move(server: ServerProcess, move: Callable[[int], None], count: int) -> None:
    for number in range(1, count + 1):
        move(number % 2)
        deadline = time.monotonic() + 120
        while server.metrics()["rewardlab_swaps_total"] < number:
            if time.monotonic() > deadline:
                raise RuntimeError(f"swap {number} did not come: {server.get('/health/ready')[1]}")
            time.sleep(0.2)
    time.sleep(SETTLE_SECONDS)


def _swap_rows(calm: Load, busy: Load, grown: float, count: int) -> list[Row]:
    failed = sum(status != 200 for status, *_ in busy.answers)
    p99 = {name: 1000 * load.quantile(0.99) for name, load in (("calm", calm), ("busy", busy))}
    why = f"{p99['busy']:.3g} ms, without swaps {p99['calm']:.3g}"
    return [
        at_most(10, f"failed of {len(busy.answers)} requests in {count} swaps", failed, "requests", 0),
        at_most(10, "p99 while models are swapped, to without", p99["busy"] / p99["calm"], "", 1.5, why),
        at_most(10, f"memory after {count} swaps, to before", grown, "", 1.2),
    ]
