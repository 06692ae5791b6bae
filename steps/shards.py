"""Shards of a step's work: each leaves its results in a folder, and one reduce reads them in the order of the work.

Pieces of work are numbered; shard i of n does every n-th piece from the i-th on. What a reduce reads from any number
of shards is what one process would have worked out itself.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rewardlab.files import read_json, write_json

Item = TypeVar("Item")
Arrays = dict[str, npt.NDArray[Any]]

_ABOUT = "shard.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of the work is meant: number `index` of `count`."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"a shard is one of 0 to {self.count - 1}, got {self.index}")

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield this shard's pieces of the work."""
        return islice(items, self.index, None, self.count)

    def write(self, folder: Path, results: Iterable[Item], save: Callable[[Path, Item], object]) -> None:
        """Make a folder with one file, or files of one name, for each result."""
        folder.mkdir()
        write_json(folder / _ABOUT, {"index": self.index, "count": self.count})
        for number, result in enumerate(results):
            save(folder / f"{number:08d}", result)


def results(folders: Sequence[Path], load: Callable[[Path], Item], *, suffix: str) -> Iterator[Item]:
    """Yield the results of all shards in the order of the work.

    Args:
        folders: of every shard, in any order.
        load: reads what `Shard.write` let its function save.
        suffix: of the file that each result has.

    Raises:
        ValueError: a shard is missing, or is there twice.
    """
    about = [read_json(folder / _ABOUT) for folder in folders]
    if sorted(each["index"] for each in about) != list(range(about[0]["count"])):
        raise ValueError(f"results are of the shards {about}: each of them is needed once")
    order = sorted(range(len(folders)), key=lambda at: int(about[at]["index"]))
    files = [sorted(folders[at].glob(f"[0-9]*{suffix}")) for at in order]
    for row in zip_longest(*files):
        yield from (load(file) for file in row if file is not None)


def save_arrays(path: Path, arrays: Arrays, **facts: Any) -> None:
    """Write arrays, and facts that JSON holds, to `PATH.npz`."""
    text = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    np.savez(path.with_suffix(".npz"), allow_pickle=False, facts=text, **arrays)


def load_arrays(file: Path) -> tuple[Arrays, dict[str, Any]]:
    """Return what `save_arrays` wrote."""
    with np.load(file, allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files}
    facts: dict[str, Any] = json.loads(arrays.pop("facts").tobytes())
    return arrays, facts
