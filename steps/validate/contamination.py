"""Are prompts or responses of public benchmarks among the data?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from rewardlab.files import parse_group, read_chunks, write_groups
from rewardlab.groups import PreferenceGroup
from rewardlab.readers import BadRow, read
from rewardlab.reports import Overlap
from steps.common.data_files import data_files, open_rows
from steps.common.data_location import at_hand, version
from steps.common.duplicates import Match, closest, write_index
from steps.common.parallel import in_order

SHORTEST = 40
"""Responses of fewer characters are what anyone may say, and are no sign of a benchmark."""


@dataclass(frozen=True, slots=True)
class Contamination:
    """Which rows hold a benchmark's text, and by benchmark the groups it has and the rows that hold its texts."""

    rows: npt.NDArray[np.bool_]
    benchmarks: dict[str, Overlap]


def contaminated(groups: Path, benchmarks: Mapping[str, str], *, threshold: float) -> Contamination:
    """Return the rows of a file whose prompt, or one of whose responses, is a benchmark's or nearly so.

    Args:
        groups: the file of groups.
        benchmarks: the version, as `steps.common.data_location.version` gives it, of each file, folder or data set.
        threshold: from which Jaccard similarity of word 3-shingles on two texts are nearly the same; an exact copy, up
            to case and punctuation, has 1.

    Raises:
        ValueError: a benchmark cannot be read, holds no group, or has another version.
    """
    with TemporaryDirectory() as folder:
        place = Path(folder)
        sizes = Counter[str]()
        write_groups(place / "benchmarks.jsonl.gz", _read(benchmarks, sizes))
        source = place / "benchmarks.jsonl.gz"
        kinds = {"prompts": prompts, "responses": responses}
        owners = {
            name: write_index(source, place / name, threshold=threshold, texts=texts) for name, texts in kinds.items()
        }
        hits = {kind: Counter[str]() for kind in kinds}
        rows = []
        search = partial(_search, place, threshold)
        for _, matches in in_order(search, read_chunks(groups), label="benchmarks"):
            for row in matches:
                rows.append(any(row))
                for kind, match in zip(kinds, row, strict=True):
                    if match:
                        hits[kind][owners[kind][match.reference]] += 1
    overlaps = {
        name: Overlap(groups=size, prompts=hits["prompts"][name], responses=hits["responses"][name])
        for name, size in sizes.items()
    }
    return Contamination(np.array(rows, dtype=bool), overlaps)


def prompts(group: PreferenceGroup) -> tuple[str, ...]:
    """Return what was said before the response, without the system's words, if there is a letter in it."""
    text = "\n\n".join(turn.content for turn in group.prompt if turn.role != "system")
    return (text,) if any(map(str.isalnum, text)) else ()


def responses(group: PreferenceGroup) -> tuple[str, ...]:
    """Return the responses that are long enough to be known again."""
    return tuple(text for text in group.responses if len(text) >= SHORTEST)


def _read(benchmarks: Mapping[str, str], sizes: Counter[str]) -> Iterator[PreferenceGroup]:
    """Yield the benchmarks' groups, each with the benchmark's name for its id, and count them."""
    for name, expected in benchmarks.items():
        if (there := version(name)) != expected:
            raise ValueError(f"the benchmark {name} has the md5 {there}, expected {expected}: start the run again")
        with at_hand(name) as place:
            for path in data_files(place):
                for group in read(open_rows(path)):
                    if not isinstance(group, BadRow):
                        sizes[name] += 1
                        yield PreferenceGroup(id=name, prompt=group.prompt, responses=group.responses)
        if not sizes[name]:
            raise ValueError(f"no row of the benchmark {name} can be read")


def _search(folder: Path, threshold: float, lines: Sequence[bytes]) -> list[tuple[Match | None, Match | None]]:
    """Return, for each group of a chunk, the closest text of a benchmark to its prompt, and to its responses."""
    asked, answered = folder / "prompts", folder / "responses"
    return [
        (closest(asked, threshold, prompts(group)), closest(answered, threshold, responses(group)))
        for group in map(parse_group, lines)
    ]
