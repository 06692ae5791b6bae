"""Assign groups to train, validation, calibration and test, and keep near-duplicates of test out of the rest."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, compress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from rewardlab.config import Config, canonical_json
from rewardlab.files import atomic_path, pack, parse_group, read_chunks, tree_digest, write_json
from rewardlab.groups import PreferenceGroup, prompt_text
from rewardlab.layout import DROPPED, GROUPS, SPLIT_REPORT, TEST, split_file
from rewardlab.text import key64, normal, share64
from steps.common.duplicates import find, write_index
from steps.common.parallel import in_order

PARTS = ("test", "calibration", "validation", "train")
_DROPPED, _TEST, _TRAIN = -1, 0, 3
_HEAVY_SHARE, _HEAVY_ROWS = 0.05, 20
_KEY = np.dtype(
    [("is_test", "?"), ("has_family", "?"), ("whole", "<u8"), ("whole_at", "<f8"), ("row", "<u8"), ("row_at", "<f8")]
)

Keys = npt.NDArray[np.void]


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig(Config):
    """Shares of the parts; a given test set takes the place of the test share, which then goes to train."""

    train: float = 0.8
    validation: float = 0.05
    calibration: float = 0.05
    test: float = 0.1
    max_similarity: float = 0.8

    def __post_init__(self) -> None:
        shares = (self.train, self.validation, self.calibration, self.test)
        if min(shares) < 0.0 or abs(sum(shares) - 1.0) > 1e-9:
            raise ValueError(f"shares are at least 0 and sum to 1, got {shares}")
        if not 0.0 < self.max_similarity <= 1.0:
            raise ValueError(f"max_similarity is in (0, 1], got {self.max_similarity}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitReport(Config):
    """How many groups each part has, and how many were dropped as near-duplicates of test."""

    num_train: int
    num_validation: int
    num_calibration: int
    num_test: int
    num_dropped: int
    test_is_given: bool
    heavy_prompts: int
    digest: str


def split(config: SplitConfig, source: Path, target: Path) -> SplitReport:
    """Write the folder `target`: one `PART.jsonl.gz` per part, `dropped.jsonl` and `split.json`.

    `source` is what `validate` wrote. A group's part depends on its own text only, so growing data never changes
    test, except where a prompt begins to hold 5 % of the rows. Those prompts are counted as `heavy_prompts`.

    Raises:
        ValueError: train or test is left empty.
    """
    groups = source / GROUPS
    keys = np.concatenate([found for _, found in in_order(_keys, read_chunks(groups), label="split")])
    given = bool(keys["is_test"].any())
    heavy = _heavy_prompts(keys[~keys["is_test"]])
    places = _places(config, keys, heavy)
    with atomic_path(target) as scratch:
        scratch.mkdir()
        dropped = _write_test(scratch, groups, places)
        if (places == _TEST).any():
            dropped += _write_others(scratch, groups, places, config.max_similarity)
        numbers = {part: int(np.count_nonzero(places == place)) for place, part in enumerate(PARTS)}
        for part in ("train", "test"):
            if not numbers[part]:
                raise ValueError(f"{part} is empty: {len(keys)} groups are too few for the shares {config.to_json()}")
        counts = {
            **{f"num_{part}": numbers[part] for part in PARTS},
            "num_dropped": len(dropped),
            "test_is_given": given,
            "heavy_prompts": len(heavy),
        }
        lines = "".join(json.dumps(record) + "\n" for record in dropped)
        (scratch / DROPPED).write_text(lines, encoding="utf-8")
        write_json(scratch / SPLIT_REPORT, {**counts, "config": config.to_dict()})
    return SplitReport.from_dict({**counts, "digest": tree_digest(target)})


def _keys(lines: Sequence[bytes]) -> Keys:
    """Return what decides the parts of a chunk of groups."""
    return np.array([_key(parse_group(line)) for line in lines], dtype=_KEY)


def _key(group: PreferenceGroup) -> tuple[bool, bool, int, float, int, float]:
    """Hash what must not straddle a border: the family, else the prompt, else (where that is heavy) the row."""
    is_test = group.meta.get("split") == "test"
    if group.family:
        whole = _hash(canonical_json(["family", group.family]))
        return is_test, True, *whole, *whole
    prompt = normal(prompt_text(group.prompt))
    row = canonical_json(["row", prompt, *sorted(map(normal, group.responses))])
    return is_test, False, *_hash(canonical_json(["prompt", prompt])), *_hash(row)


def _hash(key: str) -> tuple[int, float]:
    """Return the number that stands for a key, and where in [0, 1) the key falls."""
    return key64(key), share64(key)


def _heavy_prompts(keys: Keys) -> npt.NDArray[np.uint64]:
    """Return the prompts that hold over 5 % of the rows, and so many rows that it is no accident of few data."""
    prompts, counts = np.unique(keys["whole"][~keys["has_family"]], return_counts=True)
    return prompts[counts > max(_HEAVY_SHARE * len(keys), _HEAVY_ROWS)]


def _places(config: SplitConfig, keys: Keys, heavy: npt.NDArray[np.uint64]) -> npt.NDArray[np.int8]:
    """Return the place in PARTS of each group, `_DROPPED` for those that share a key with a given test group."""
    by_row = np.isin(keys["whole"], heavy) & ~keys["has_family"]
    names = np.where(by_row, keys["row"], keys["whole"])
    borders = np.cumsum([getattr(config, part) for part in PARTS[:-1]])
    places = borders.searchsorted(np.where(by_row, keys["row_at"], keys["whole_at"]), side="right").astype(np.int8)
    if (given := keys["is_test"]).any():
        places[places == _TEST] = _TRAIN
        places[np.isin(names, names[given])] = _DROPPED
        places[given] = _TEST
    return places


def _write_test(target: Path, groups: Path, places: npt.NDArray[np.int8]) -> list[dict[str, str]]:
    """Write the test part; return the ids that a given test set excludes."""
    excluded = []
    with pack(target / TEST) as test:
        for place, line in zip(places, chain.from_iterable(read_chunks(groups)), strict=True):
            if place == _TEST:
                test.write(line)
            elif place == _DROPPED:
                excluded.append(parse_group(line).id)
    return [{"id": name, "reason": "its prompt or family is in the given test set"} for name in excluded]


def _write_others(
    target: Path, groups: Path, places: npt.NDArray[np.int8], max_similarity: float
) -> list[dict[str, str]]:
    """Write the other parts without what is like a test group, which `places` is told; return those ids."""
    dropped: list[tuple[int, dict[str, str]]] = []
    rest = iter(np.flatnonzero(places > _TEST).tolist())
    with TemporaryDirectory(dir=target.parent) as folder, ExitStack() as files:
        index = Path(folder) / "index"
        ids = write_index(target / TEST, index, threshold=max_similarity)
        packed = [files.enter_context(pack(target / split_file(part))) for part in PARTS[1:]]
        search = partial(find, index, max_similarity)
        for lines, matches in in_order(search, _others(groups, places), label="near-duplicates"):
            for line, match, at in zip(lines, matches, rest, strict=False):  # the rest goes on behind these
                part = int(places[at])
                if match is None:
                    packed[part - 1].write(line)
                    continue
                like = f"near-duplicate of test group {ids[match.reference]} (Jaccard {match.similarity:.2f})"
                dropped.append((part, {"id": parse_group(line).id, "reason": f"{PARTS[part]}: {like}"}))
                places[at] = _DROPPED
    return [record for _, record in sorted(dropped, key=lambda each: each[0])]


def _others(groups: Path, places: npt.NDArray[np.int8]) -> Iterator[list[bytes]]:
    start = 0
    for lines in read_chunks(groups):
        chosen = places[start : start + len(lines)] > _TEST
        start += len(lines)
        yield list(compress(lines, chosen))
