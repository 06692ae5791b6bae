"""What a server survives: poison among good responses, made-up requests, and clients that die at any moment."""

import asyncio
import contextlib
import json
import random
import shutil
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.bundles import make_bundle, texts
from benchmarks.fuzz import fuzz
from benchmarks.harness import Row, at_least, at_most
from benchmarks.load import ask, request
from benchmarks.server_process import ServerProcess, serving
from rewardlab.bundle import Bundle, seal
from rewardlab.engine import Engine
from rewardlab.files import read_json
from rewardlab.layout import MANIFEST, MODEL

BATCH = 64
POISON_WORDS = 437
"""No golden text is as long, else the bundle would be refused."""
KILLERS = 16
QUIET_SECONDS = 30


def poison(place: Path) -> list[Row]:
    """Return row 19: 64 responses of which five are poison, scored beside each other."""
    bundle = _without_rewards_for_one_length(make_bundle("minilm", place, int8=True), place / "poison")
    prompt = "a question"
    responses = [response for _, response in texts(bundle, [60 + number for number in range(BATCH)], seed=19)]
    responses[7] = " ".join(["good"] * POISON_WORDS)
    responses[21], responses[22], responses[23] = "\ud800", "", "good " * 2**19
    responses[40] = "good " * 100_000
    with serving(bundle, "--threads", "1") as server:
        body = {"prompt": prompt, "responses": responses, "partial": True}
        status, _, reply = asyncio.run(ask(server.port, request("/v1/rewards", body)))
        found = json.loads(reply)
        good = [each for number, each in enumerate(responses) if number not in (7, 21, 23)]
        alone = Engine(Bundle.open(bundle), threads=1).score_many([(prompt, [each]) for each in good])
        told = {entry["index"]: entry["error"] for entry in found["errors"]}
        kept = [reward for number, reward in enumerate(found["rewards"]) if number not in (7, 21, 23)]
        same = sum(reward == scores[0] for reward, scores in zip(kept, alone, strict=True))
        honest = server.health() == {"live": 200, "ready": 200} and status == 200
        failures = server.metrics()['rewardlab_failed_responses_total{kind="not_finite"}']
    why = f"named: {sorted(told)}; 100,000 tokens read in part: {found['truncated'][40]}; NaN counted: {failures:.0f}"
    return [
        at_least(19, f"of {BATCH}, scored as each is alone", same, "responses", BATCH - 3, why),
        at_most(19, "poison that is not named", len({7, 21, 23} ^ set(told)), "responses", 0),
        at_least(19, "live, ready and 200 after it", float(honest), "", 1),
    ]


def _without_rewards_for_one_length(bundle: Path, target: Path) -> Path:
    """Return the bundle with a graph that gives NaN for the length that the poison has, and else what it gave."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    (length,) = (
        Engine(Bundle.open(bundle), threads=1).score("a question", [" ".join(["good"] * POISON_WORDS)]).num_tokens
    )
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(bundle, target)
    model = onnx.load(target / MODEL)
    for node in model.graph.node:
        node.output[:] = ["rewards.whole" if name == "rewards" else name for name in node.output]
    constants: dict[str, np.ndarray[Any, Any]] = {
        "poison.length": np.array(length, np.int64),
        "poison.nan": np.array(np.nan, np.float32),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.node.append(helper.make_node("Equal", ["lengths", "poison.length"], ["poison.here"]))
    model.graph.node.append(helper.make_node("Where", ["poison.here", "poison.nan", "rewards.whole"], ["rewards"]))
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.save(model, target / MODEL)
    facts = read_json(target / MANIFEST)
    (target / MANIFEST).unlink()
    seal(target, {name: value for name, value in facts.items() if name not in ("digest", "files")})
    return target


@dataclass(frozen=True, slots=True)
class State:
    """What a server at rest holds."""

    num_files: int
    resident_mb: float
    failed: float


def survival(place: Path, *, cases: int, minutes: float) -> list[Row]:
    """Return row 20: made-up requests, then clients that die, on one server."""
    bundle = make_bundle("minilm", place, int8=True)
    with serving(bundle) as server:
        sent = fuzz(server.url, cases)
        before = _at_rest(server)
        killed = asyncio.run(_kills(server.port, bundle, 60 * minutes))
        after = _at_rest(server)
        reply = httpx.post(f"{server.url}/v1/rewards", json={"prompt": "a", "responses": ["b"]}, timeout=60)
    why = f"{before.num_files} files before, {after.num_files} after; answered {reply.status_code}"
    return [
        at_most(20, f"500s in {sent} made-up requests", before.failed, "requests", 0),
        at_most(
            20, f"500s while {killed} clients died in {minutes:g} min", after.failed - before.failed, "requests", 0
        ),
        at_most(20, "files left open by them", after.num_files - before.num_files, "files", 0, why),
        at_most(20, "memory left behind by them", after.resident_mb - before.resident_mb, "MB", 150),
    ]


def _at_rest(server: ServerProcess) -> State:
    """Return a server's state once nothing waits.

    Raises:
        RuntimeError: something still waits long after everybody has left.
    """
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        metrics = server.metrics()
        if not metrics["rewardlab_queue_seconds"] and not metrics["rewardlab_held_requests"]:
            break
        if time.monotonic() > deadline:
            raise RuntimeError(f"work waits {QUIET_SECONDS} s after everybody has left: {metrics}")
        time.sleep(0.2)
    time.sleep(1.0)  # connections whose end has not been seen yet
    failed = sum(value for name, value in metrics.items() if 'status="500"' in name)
    return State(server.num_files(), server.resident_mb(), failed)


async def _kills(port: int, bundle: Path, seconds: float) -> int:
    """Send requests and reset the connection at any moment: within the head, the body, the wait or the answer."""
    pairs = list(texts(bundle, [60] * 256, seed=20))
    end, count = time.monotonic() + seconds, 0

    async def killer(rng: random.Random) -> None:
        nonlocal count
        while time.monotonic() < end:
            prompt, response = rng.choice(pairs)
            body = {"prompt": f"{rng.random()} {prompt}", "responses": [response] * rng.randrange(1, 5)}
            message = request("/v1/rewards", body)
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(message[: rng.choice((rng.randrange(len(message)), len(message)))])
                await asyncio.sleep(rng.choice((0.0, rng.random() / 100, rng.random())))
                _reset(writer)
            count += 1

    await asyncio.gather(*(killer(random.Random(number)) for number in range(KILLERS)))
    return count


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a process that is killed does: at once, with what was not sent lost."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
