"""The server over HTTP: overhead of a request, trainers' emulators, overload, poison, clients that are killed.

`--bundle` names what is served; without it a tiny random model is, for which the share of the second core says nothing.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.bundle import tiny_bundle
from benchmarks.emulators import Count, Trainer, trainers
from benchmarks.harness import Row, at_least, at_most, main
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine

BUNDLE = "REWARDLAB_BENCH_BUNDLE"
CLIENTS = 512
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a process of its own."""

    url: str
    pid: int

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def megabytes(self) -> float:
        """Return the process's resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def files(self) -> int:
        """Return how many files and sockets the process holds open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


@contextmanager
def serving(bundle: Path, *, threads: int) -> Iterator[Server]:
    """Start a server and wait until it is ready."""
    command = [sys.executable, "-m", "serving", "--bundle", str(bundle), "--port", "0", "--threads", str(threads)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            while httpx.get(f"{url}/health/ready").status_code != 200:
                time.sleep(0.05)
            yield Server(url, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)


def measure(quick: bool) -> Sequence[Row]:
    """Measure every row; a quick run takes seconds where a full one takes minutes."""
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get(BUNDLE)
        bundle = Path(given) if given else tiny_bundle(Path(folder))
        return [
            *storm(bundle, quick, real=bool(given)),
            *overload(bundle, 20.0 if quick else 600.0),
            *open_loop(bundle, 5.0 if quick else 60.0),
            poison(bundle),
            *kills(bundle, 10.0 if quick else 3600.0),
        ]


def storm(bundle: Path, quick: bool, *, real: bool) -> list[Row]:
    """Row 15: 512 clients with one candidate each, a new connection every time, many candidates to a prompt."""
    bodies = [_body(f"Question {n // 8}: how much is {n // 8} + 2?", f"It is {n}.") for n in range(CLIENTS)]
    repeats = 3 if quick else 7
    rates, overheads = {}, []
    for threads in (1, 2):
        with serving(bundle, threads=threads) as server:
            asyncio.run(_all(server, bodies))
            found = []
            for _ in range(repeats):
                cpu, started = server.cpu_seconds(), time.perf_counter()
                asyncio.run(_all(server, bodies))
                found.append(CLIENTS / (time.perf_counter() - started))
                overheads += [server.cpu_seconds() - cpu] if threads == 1 else []
            rates[threads] = sorted(found)[repeats // 2]
    engine = _engine_seconds(bundle, repeats)
    overhead = 1000 * (sorted(overheads)[repeats // 2] - engine) / CLIENTS
    second = rates[2] / rates[1]
    scaling = at_least(15, "second core, 512 clients", second, "x", 1.8)
    if not real or len(os.sched_getaffinity(0)) < 4:
        why = "needs a real model" if not real else "the clients take one of the two cores"
        scaling = Row(row=15, name=scaling.name, value=second, unit="x", target=1.8, status=scaling.status, why=why)
    return [at_most(15, "CPU overhead a request, new connections", overhead, "ms", 0.5), scaling]


def _engine_seconds(bundle: Path, repeats: int) -> float:
    """Return the CPU time that the engine alone takes for the storm's groups."""
    engine = Engine(Bundle.open(bundle), threads=1)
    groups = [
        (f"Question {n}: how much is {n} + 2?", [f"It is {8 * n + k}." for k in range(8)]) for n in range(CLIENTS // 8)
    ]
    seconds = []
    for _ in range(repeats + 1):
        started = time.process_time()
        engine.score_many(groups)
        seconds.append(time.process_time() - started)
    return sorted(seconds[1:])[repeats // 2]


def overload(bundle: Path, seconds: float) -> list[Row]:
    """Row 16, closed loop: five trainers with ten times the clients that the engine needs to be busy."""
    with serving(bundle, threads=2) as server:
        peak = asyncio.run(_loop(trainers(server.url, 4), min(seconds, 30.0)))
        before = server.megabytes()
        count = asyncio.run(_loop(trainers(server.url, 40), seconds))
        grown = server.megabytes() - before
    lost = count.lost + count.nones
    goodput = (count.rewards / seconds) / (peak.rewards / min(seconds, 30.0))
    told = f"{count.rewards} rewards in {seconds:g} s"
    return [
        at_most(16, f"lost or None rewards, 200 clients of five trainers ({told})", lost, "", 0.0),
        at_least(16, "goodput under 10x the clients, of its peak", goodput, "x", 0.95),
        at_most(16, "memory grown under 10x the clients", grown, "MB", 150.0),
    ]


async def _loop(clients: Sequence[Trainer], seconds: float) -> Count:
    counts = await asyncio.gather(*(client.run(seconds) for client in clients))
    return Count(*(sum(column) for column in zip(*counts, strict=True)))


def open_loop(bundle: Path, seconds: float) -> list[Row]:
    """Row 16, open loop: three times what can be scored arrives; the excess is shed, and the rest is as fast."""
    with serving(bundle, threads=2) as server:
        statuses = asyncio.run(_arrivals(server, seconds))
        shed = httpx.get(f"{server.url}/metrics").text
    other = sum(number for status, number in statuses.items() if status not in (200, 503))
    counted = f'status="503"}} {float(statuses.get(503, 0))}' in shed or statuses.get(503, 0) == 0
    good, away = statuses.get(200, 0), statuses.get(503, 0)
    name = f"open loop: {good} scored, {away} shed, {'counted' if counted else 'NOT COUNTED'}; other replies"
    return [at_most(16, name, float(other), "", 0.0)]


async def _arrivals(server: Server, seconds: float) -> dict[int, int]:
    statuses: dict[int, int] = {}
    tasks = set()
    started, sent = time.monotonic(), 0
    while (now := time.monotonic() - started) < seconds:
        while sent < now * 400:
            body = json.dumps({"text_1": f"Open {sent}?", "text_2": ["some words " * 30] * 1}).encode()
            task = asyncio.create_task(_post(server, "/vllm/score", body))
            tasks.add(task)
            sent += 1
        await asyncio.sleep(0.005)
    for status, _ in await asyncio.gather(*tasks):
        statuses[status] = statuses.get(status, 0) + 1
    return statuses


def poison(bundle: Path) -> Row:
    """Row 19: a batch of 64 in which four cannot be scored, and an empty one and a very long one can."""
    good = [f"fine {n}" for n in range(58)]
    bad = ["\ud800", "x" * (2 * 2**20 + 1), "a\udfff", "y" * (3 * 2**20)]
    body = json.dumps({"prompt": "Which?", "responses": [*good, *bad, "", "many words " * 50_000], "partial": True})
    with serving(bundle, threads=2) as server:
        reply = httpx.post(f"{server.url}/v1/rewards", content=body, timeout=300).json()
        ready = httpx.get(f"{server.url}/health/ready").status_code == 200
    scored = sum(reward is not None for reward in reply["rewards"])
    named = [entry["index"] for entry in reply["errors"]]
    right = scored == 60 and named == [58, 59, 60, 61] and ready and reply["truncated"][63]
    return Row(
        row=19,
        name="poison in a batch of 64: scored, of 60 that can be",
        value=float(scored),
        unit="",
        target=60.0,
        status="met" if right else "missed",
        why="NaN and engine failures: tests/test_serving_loop.py",
    )


def kills(bundle: Path, seconds: float) -> list[Row]:
    """Row 20: clients that leave at any moment; afterwards nothing is held, queued or open that was not before."""
    with serving(bundle, threads=2) as server:
        asyncio.run(_killed(server, min(2.0, seconds)))
        time.sleep(1)
        files, before = server.files(), server.megabytes()
        killed = asyncio.run(_killed(server, seconds))
        time.sleep(1)
        metrics = httpx.get(f"{server.url}/metrics").text
        left = server.files() - files
        grown = server.megabytes() - before
        answer = httpx.post(f"{server.url}/v1/rewards", content=_body("a", "b"))
    idle = "rewardlab_queue_seconds 0.0" in metrics and "rewardlab_held_requests 0.0" in metrics
    failed = sum(
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if "_requests_total" in line and 'status="500"' in line
    )
    hang = 0.0 if idle and answer.status_code == 200 else 1.0
    return [
        at_most(20, f"{killed} clients killed: replies with 500", failed, "", 0.0),
        at_most(20, "hangs after the kills", hang, "", 0.0),
        at_most(20, "open files left by the kills", float(left), "", 4.0),
        at_most(20, "memory grown by the kills", grown, "MB", 100.0),
    ]


async def _killed(server: Server, seconds: float) -> int:
    chance = random.Random(0)  # noqa: S311
    end = time.monotonic() + seconds

    async def one() -> int:
        done = 0
        while time.monotonic() < end:
            _, writer = await asyncio.open_connection(*server.address)
            body = _body(f"Kill {chance.random()}?", *("some words " * chance.randrange(1, 40) for _ in range(4)))
            request = _request("/v1/rewards", body)
            writer.write(request[: chance.choice((len(request), chance.randrange(1, len(request))))])
            await asyncio.sleep(chance.random() * 0.1)
            writer.transport.abort()
            done += 1
        return done

    return sum(await asyncio.gather(*(one() for _ in range(32))))


async def _all(server: Server, bodies: Sequence[bytes]) -> None:
    answers = await asyncio.gather(*(_post(server, "/v1/rewards", body) for body in bodies))
    assert {status for status, _ in answers} == {200}


async def _post(server: Server, path: str, body: bytes) -> tuple[int, bytes]:
    """Send a request on a connection of its own and return the reply's status and body."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(_request(path, body))
    reply = await reader.read()
    writer.close()
    head, _, rest = reply.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), rest


def _request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _body(prompt: str, *responses: str) -> bytes:
    return json.dumps({"prompt": prompt, "responses": responses}).encode()


if __name__ == "__main__":
    main(__doc__ or "", measure)
