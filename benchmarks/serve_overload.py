"""Ten times the clients that a server has room for: what trainers lose, what is still done, what is shed and told."""

import asyncio
import itertools
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bundles import make_bundle, texts
from benchmarks.harness import Row, at_least, at_most
from benchmarks.load import Answer, ask, request
from benchmarks.serve_http import renderer
from benchmarks.server_process import ServerProcess, serving
from benchmarks.trainers import Trainers

RESPONSES = 4
TOKENS = 120
"""Words of prompt and response: all the same, so that goodput is not a matter of which texts were drawn."""
SWEEP = (5, 10, 20, 40)
"""Clients among which the fewest are looked for that keep the server as busy as any."""
RISE = 0.2
"""Share of a phase in which queues fill, and nothing is counted."""
OVERLOAD, OPEN_LOOP = 10, 3.0
"""Times the clients, and times the rate, that the server has room for."""
SHORTEST_OPEN_SECONDS = 30
"""Ten seconds of work are let in before anything is shed."""


@dataclass(slots=True)
class Book:
    """What came of a phase: rewards by trainer, those that were lost, and the server's memory over time."""

    seconds: float = 0.0
    cpu: float = 0.0
    scored: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    resident_mb: list[float] = field(default_factory=list)

    @property
    def goodput(self) -> float:
        """Return rewards a second."""
        return sum(self.scored.values()) / self.seconds

    @property
    def thrift(self) -> float:
        """Return rewards for each of the server's CPU seconds, which a busy machine changes less."""
        return sum(self.scored.values()) / self.cpu


class Drill:
    """One server and its crowd of clients; no two of them ever ask for the same text."""

    def __init__(self, server: ServerProcess, bundle: Path) -> None:
        self._server = server
        self._whole = renderer(bundle)
        self._texts = list(texts(bundle, [TOKENS] * 256, seed=16))
        self._serial = itertools.count()

    def group(self) -> tuple[str, list[str]]:
        """Return a prompt and responses that nobody has asked for."""
        prompt, number = random.choice(self._texts)[0], next(self._serial)
        return f"{number} {prompt}", [random.choice(self._texts)[1] for _ in range(RESPONSES)]

    async def closed(self, clients: int, seconds: float) -> Book:
        """Let trainers ask without pause; count the rewards that come after the first fifth, and all that are lost."""
        book, trainers = Book(), Trainers(self._server.port, self._whole)
        begin = time.perf_counter() + RISE * seconds
        end = begin + (1 - RISE) * seconds

        async def client(kind: str) -> None:
            while time.perf_counter() < end:
                rewards = await trainers.kinds[kind](*self.group())
                good = sum(reward is not None and math.isfinite(reward) for reward in rewards)
                if begin <= time.perf_counter() < end:
                    book.scored[kind] = book.scored.get(kind, 0) + good
                book.lost[kind] = book.lost.get(kind, 0) + RESPONSES - good

        async def watch() -> None:
            await asyncio.sleep(RISE * seconds)
            cpu = self._server.cpu_seconds()
            while time.perf_counter() < end:
                book.resident_mb.append(self._server.resident_mb())
                await asyncio.sleep(min(1.0, seconds / 20))
            book.seconds, book.cpu = time.perf_counter() - begin, self._server.cpu_seconds() - cpu

        kinds = itertools.islice(itertools.cycle(trainers.kinds), clients)
        await asyncio.gather(watch(), *map(client, kinds))
        await trainers.close()
        return book

    async def sweep(self, seconds: float) -> dict[int, Book]:
        """Return what comes of each number of clients that the server may have room for."""
        return {clients: await self.closed(clients, max(seconds, 3.0)) for clients in SWEEP}

    async def open(self, rate: float, seconds: float) -> list[Answer]:
        """Ask at a rate, whatever becomes of what was asked before, over a protocol that sheds."""
        tasks = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            prompt, responses = self.group()
            message = request("/vllm/classify", {"input": self._whole(prompt, responses[0])})
            tasks.append(asyncio.create_task(ask(self._server.port, message)))
            await asyncio.sleep(random.expovariate(rate))
        return await asyncio.gather(*tasks)


def measure(place: Path, *, minutes: float) -> Sequence[Row]:
    """Return row 16."""
    bundle = make_bundle("minilm", place, int8=True)
    with serving(bundle) as server:
        return asyncio.run(_rows(server, Drill(server, bundle), 60 * minutes))


async def _rows(server: ServerProcess, drill: Drill, seconds: float) -> list[Row]:
    calm = await drill.sweep(seconds / 40)
    best = max(book.goodput for book in calm.values())
    room = next(clients for clients, book in calm.items() if book.goodput >= 0.95 * best)
    crowd = await drill.closed(OVERLOAD * room, seconds)
    peaks = [max(books.values(), key=lambda book: book.goodput) for books in (calm, await drill.sweep(seconds / 40))]
    before = server.metrics()
    aside = max(seconds / 8, SHORTEST_OPEN_SECONDS)
    beside, answers = await asyncio.gather(drill.closed(room, aside), drill.open(OPEN_LOOP * best, aside))
    told = _shed(server.metrics()) - _shed(before)
    return [*_closed_rows(peaks, crowd, OVERLOAD * room), *_open_rows(beside, answers, told)]


def _closed_rows(peaks: Sequence[Book], crowd: Book, clients: int) -> list[Row]:
    """Hold the crowd beside the mean of the peaks before and after it, as a machine's speed drifts in such a time."""
    grown = max(crowd.resident_mb) - crowd.resident_mb[0]
    name = f"{clients} clients of five trainers"
    ratio = crowd.goodput / statistics.mean(peak.goodput for peak in peaks)
    thrift = crowd.thrift / statistics.mean(peak.thrift for peak in peaks)
    told = " and ".join(f"{peak.goodput:.4g}" for peak in peaks)
    why = (
        f"{crowd.goodput:.4g} rewards a second, {told} before and after; "
        f"for each CPU second of the server {thrift:.3f} of the peaks'"
    )
    return [
        at_most(16, f"lost or None, {name}", sum(crowd.lost.values()), "rewards", 0, f"{crowd.scored}"),
        at_least(16, "goodput of its peak", ratio, "", 0.95, why),
        at_most(16, "memory grown after the first fifth", grown, "MB", 150),
    ]


def _open_rows(beside: Book, answers: Sequence[Answer], told: float) -> list[Row]:
    shed = sum(status == 503 for status, *_ in answers)
    strange = sum(status not in (200, 503) for status, *_ in answers)
    name = "open loop: neither scored nor shed and counted"
    why = f"{len(answers)} asked, {shed} shed; trainers beside them got {sum(beside.scored.values())} rewards"
    return [
        at_most(16, name, strange + abs(shed - told), "requests", 0, why),
        at_least(16, "open loop: requests that were shed", shed, "requests", 1),
        at_most(16, "open loop: what trainers lose beside it", sum(beside.lost.values()), "rewards", 0),
    ]


def _shed(metrics: dict[str, float]) -> float:
    return metrics.get('rewardlab_requests_total{dialect="vllm",status="503"}', 0.0)
