"""A load generator that costs little: requests are bytes before the clock starts, and replies are read, not parsed.

It runs in the benchmark's process, so that what it costs is in none of a server's CPU seconds; on a machine whose cores
are all the server's it takes some of the wall clock, and `Load.generator_cpu` says how much.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""
PATIENCE_SECONDS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a load took: seconds by the wall, the generator's own CPU seconds, and each request's seconds and answer."""

    seconds: float
    generator_cpu: float
    latencies: tuple[float, ...]
    answers: tuple[Answer, ...]

    def quantile(self, share: float) -> float:
        """Return the latency that a share of the requests stays within."""
        return statistics.quantiles(self.latencies, n=1000, method="inclusive")[round(1000 * share) - 1]

    def statuses(self) -> dict[int, int]:
        """Return how many answers had each status."""
        found: dict[int, int] = {}
        for status, *_ in self.answers:
            found[status] = found.get(status, 0) + 1
        return found


def request(path: str, values: Any) -> bytes:
    """Return a POST with a JSON body, lone surrogates and all."""
    body = json.dumps(values).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def ask(port: int, message: bytes) -> Answer:
    """Send a request over a connection of its own.

    Raises:
        OSError: there is no connection, or it ended early.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        writer.write(message)
        return await read_answer(reader)
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer whose length is told.

    Raises:
        ConnectionError: the connection ended before the answer did.
    """
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the connection ended early") from error
    return int(head[0].split(" ")[1]), headers, body


async def closed_loop(port: int, messages: Sequence[bytes], *, clients: int) -> Load:
    """Send each message once, by so many clients that each wait for an answer before they send the next."""
    rest = iter(messages)

    async def client() -> list[tuple[float, Answer]]:
        return [await timed(port, message) for message in rest]

    return await measured([client] * min(clients, len(messages)))


async def timed(port: int, message: bytes) -> tuple[float, Answer]:
    """Return the seconds that an answer took, and the answer."""
    started = time.perf_counter()
    answer = await ask(port, message)
    return time.perf_counter() - started, answer


async def measured(clients: Sequence[Callable[[], Awaitable[Sequence[tuple[float, Answer]]]]]) -> Load:
    """Let clients work side by side; each returns the seconds and the answer of each of its requests."""
    started, cpu = time.perf_counter(), time.process_time()
    async with asyncio.timeout(PATIENCE_SECONDS):
        found = await asyncio.gather(*(client() for client in clients))
    pairs = [pair for each in found for pair in each]
    return Load(
        seconds=time.perf_counter() - started,
        generator_cpu=time.process_time() - cpu,
        latencies=tuple(seconds for seconds, _ in pairs),
        answers=tuple(answer for _, answer in pairs),
    )
