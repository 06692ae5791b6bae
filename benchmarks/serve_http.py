"""The server's throughput over HTTP: mixed lengths beside other servers, and a storm of one-candidate requests.

MiniLM's geometry in W8A8. Every server gets one core, or two where it says so, and the same texts; CPU seconds are the
server process's own, as the kernel counts them.
"""

import asyncio
import itertools
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bundles import lengths, make_bundle, texts
from benchmarks.harness import Row, at_least, at_most
from benchmarks.load import Load, closed_loop, request
from benchmarks.serve_peers import infinity
from benchmarks.server_process import ServerProcess, contender, serving
from rewardlab.chat import render
from rewardlab.files import read_json
from rewardlab.groups import Message
from rewardlab.layout import READOUT
from rewardlab.readout import ReadOut

TEXTS_A_REQUEST, CLIENTS = 32, 4
STORM_CLIENTS = 512


@dataclass(frozen=True, slots=True)
class Cost:
    """What a load cost a server: wall and CPU seconds, those of the engine and the tokenizers, and tokens computed."""

    load: Load
    cpu: float
    engine_cpu: float
    tokenizing_cpu: float
    useful: float
    computed: float


def renderer(bundle: Path) -> Callable[[str, str], str]:
    """Return what renders a prompt and a response with a bundle's template."""
    readout = ReadOut.from_dict(read_json(bundle / READOUT))

    def whole(prompt: str, response: str) -> str:
        turns = (Message("user", prompt), Message("assistant", response))
        return render(readout.template, turns, special_tokens=readout.special_tokens, add_generation_prompt=False)

    return whole


def whole_texts(bundle: Path, count: int, *, seed: int) -> list[str]:
    """Return conversations of mixed lengths as the bundle's template renders them."""
    return list(itertools.starmap(renderer(bundle), texts(bundle, lengths(count, seed=seed), seed=seed)))


def cost(server: ServerProcess, messages: Sequence[bytes], *, clients: int) -> Cost:
    """Return what a load cost one of our servers or another one, which tells nothing of its engine.

    Raises:
        RuntimeError: a request was not answered with 200.
    """
    before, cpu = _counted(server), server.cpu_seconds()
    load = asyncio.run(closed_loop(server.port, messages, clients=clients))
    spent, after = server.cpu_seconds() - cpu, _counted(server)
    if set(load.statuses()) != {200}:
        raise RuntimeError(f"{server.url} answered {load.statuses()}: {load.answers[-1]!r:.400}")
    return Cost(load, spent, *(late - early for early, late in zip(before, after, strict=True)))


def _counted(server: ServerProcess) -> list[float]:
    found = server.metrics() if server.ours else {}
    names = ("engine_cpu_seconds", "tokenizing_cpu_seconds", "engine_tokens", "engine_padded_tokens")
    return [found.get(f"rewardlab_{name}_total", 0.0) for name in names]


def mixed(place: Path, *, quick: bool, peers: bool) -> list[Row]:
    """Return row 14: requests of 32 texts of mixed lengths, a core each, servers taking turns."""
    bundle = make_bundle("minilm", place, int8=True)
    num_requests, repeats = (2, 3) if quick else (4, 5)
    sent = whole_texts(bundle, TEXTS_A_REQUEST * num_requests, seed=14)
    pieces = [sent[at : at + TEXTS_A_REQUEST] for at in range(0, len(sent), TEXTS_A_REQUEST)]
    queries = [request("/get_reward", {"query": piece}) for piece in pieces]
    torch = [sys.executable, "-m", "benchmarks.torch_server", "--model", str(bundle.parent / "model")]
    with ExitStack() as stack:
        ours = stack.enter_context(serving(bundle, "--threads", "1", "--protocol", "openrlhf", cores="0"))
        ways: dict[str, Callable[[], Cost]] = {"ours": lambda: cost(ours, queries, clients=CLIENTS)}
        theirs = stack.enter_context(contender(torch, cores="0", ready="/health"))
        ways["torch"] = lambda: cost(theirs, queries, clients=CLIENTS)
        if peers:
            other = stack.enter_context(infinity(bundle.parent / "model", cores="0"))
            inputs = [request("/classify", {"model": "peer", "input": piece}) for piece in pieces]
            ways["infinity"] = lambda: cost(other, inputs, clients=CLIENTS)
        found = interleaved(ways, repeats=repeats)
    tokens = found["ours"][-1]
    return [
        _beside("an OpenRLHF-style torch server", found, "torch", 8.0),
        _beside("infinity's INT8", found, "infinity", 1.0),
        at_least(14, "useful of computed tokens", tokens.useful / tokens.computed, "", 0.95),
    ]


def interleaved(ways: dict[str, Callable[[], Cost]], *, repeats: int) -> dict[str, list[Cost]]:
    """Return what each way cost in each turn; the first turn warms up and is left out."""
    found: dict[str, list[Cost]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            spent = way()
            if turn:
                found[name].append(spent)
    return found


def _beside(name: str, found: dict[str, list[Cost]], other: str, target: float) -> Row:
    cpu, wall = (
        {way: statistics.median(map(key, each)) for way, each in found.items()}
        for key in (lambda cost: cost.cpu, lambda cost: cost.load.seconds)
    )
    values = {"row": 14, "name": f"mixed lengths, beside {name}", "unit": "CPU s", "value": cpu["ours"]}
    if other not in cpu:
        return Row(**values, target=target, status="not_run", why="--peers was not given")
    ratio = cpu[other] / cpu["ours"]
    why = f"they take {cpu[other]:.3g}; by the wall {wall[other] / wall['ours']:.3g}"
    return Row(**values, ratio=ratio, target=target, status="met" if ratio >= target else "missed", why=why)


def storm(place: Path, *, quick: bool) -> list[Row]:
    """Return row 15: 512 clients that ask for one candidate each time, with a connection each time."""
    bundle = make_bundle("minilm", place, int8=True)
    repeats = 3 if quick else 5
    sent = whole_texts(bundle, STORM_CLIENTS * (1 if quick else 2), seed=15)
    messages = [request("/get_reward", {"query": [text]}) for text in sent]
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(serving(bundle, "--threads", threads, "--protocol", "openrlhf", cores=cores))
            for threads, cores in (("1", "0"), ("2", "0,1"))
        )
        ways = {
            "one": lambda: cost(one, messages, clients=STORM_CLIENTS),
            "two": lambda: cost(two, messages, clients=STORM_CLIENTS),
        }
        found = interleaved(ways, repeats=repeats)
    spent = [
        (each.cpu - each.engine_cpu - each.tokenizing_cpu, each.tokenizing_cpu, each.engine_cpu)
        for each in found["one"]
    ]
    overhead, reading, scoring = (
        1000 * statistics.median(column) / len(messages) for column in zip(*spent, strict=True)
    )
    seconds = {name: statistics.median(each.load.seconds for each in costs) for name, costs in found.items()}
    generator = statistics.median(each.load.generator_cpu for each in found["two"])
    told = f"the tokenizer takes {reading:.3g} ms, the engine {scoring:.3g}"
    cpu = {name: 1000 * statistics.median(each.cpu for each in costs) / len(messages) for name, costs in found.items()}
    why = (
        f"a request takes {cpu['two']:.3g} CPU ms on two cores and {cpu['one']:.3g} on one; "
        f"the generator took {generator:.3g} of {2 * seconds['two']:.3g} CPU s on the same two cores"
    )
    return [
        at_most(15, "CPU beside engine and tokenizer, a request", overhead, "ms", 0.5, told),
        at_least(15, "requests a second, two cores to one", seconds["one"] / seconds["two"], "", 1.8, why),
    ]
