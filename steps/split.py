"""Assign groups to train, validation, calibration and test, and keep near-duplicates of test out of the rest."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardlab.config import Config, canonical_json
from rewardlab.files import atomic_path, read_groups, tree_digest, write_groups, write_json
from rewardlab.groups import PreferenceGroup, prompt_text
from steps.duplicates import Match, near_duplicates

PARTS = ("test", "calibration", "validation", "train")
_HEAVY_SHARE, _HEAVY_ROWS = 0.05, 20

Parts = dict[str, list[PreferenceGroup]]


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
    groups = list(read_groups(source / "groups.jsonl.gz"))
    given = any(group.meta.get("split") == "test" for group in groups)
    heavy = _heavy_prompts([group for group in groups if group.meta.get("split") != "test"])
    tested = {_key(group, heavy) for group in groups if group.meta.get("split") == "test"}
    parts: Parts = {part: [] for part in PARTS}
    dropped = []
    for group in groups:
        part = _part(config, group, heavy, given=given)
        if part != "test" and _key(group, heavy) in tested:
            dropped.append({"id": group.id, "reason": "its prompt or family is in the given test set"})
        else:
            parts[part].append(group)
    dropped += _drop_near_duplicates(parts, config.max_similarity)
    for part in ("train", "test"):
        if not parts[part]:
            raise ValueError(f"{part} is empty: {len(groups)} groups are too few for the shares {config.to_json()}")
    counts = {
        **{f"num_{part}": len(parts[part]) for part in PARTS},
        "num_dropped": len(dropped),
        "test_is_given": given,
        "heavy_prompts": len(heavy),
    }
    with atomic_path(target) as scratch:
        scratch.mkdir()
        for part in PARTS:
            write_groups(scratch / f"{part}.jsonl.gz", parts[part])
        lines = "".join(json.dumps(record) + "\n" for record in dropped)
        (scratch / "dropped.jsonl").write_text(lines, encoding="utf-8")
        write_json(scratch / "split.json", {**counts, "config": config.to_dict()})
    return SplitReport.from_dict({**counts, "digest": tree_digest(target)})


def _part(config: SplitConfig, group: PreferenceGroup, heavy: frozenset[str], *, given: bool) -> str:
    if group.meta.get("split") == "test":
        return "test"
    place = _place(_key(group, heavy))
    border = 0.0
    for part in PARTS[:-1]:
        border += getattr(config, part)
        if place < border:
            return "train" if given and part == "test" else part
    return "train"


def _key(group: PreferenceGroup, heavy: frozenset[str]) -> str:
    """Return what must not straddle a border: the family, else the prompt, else prompt and responses."""
    if group.family:
        return canonical_json(["family", group.family])
    prompt = _normal(prompt_text(group.prompt))
    if prompt not in heavy:
        return canonical_json(["prompt", prompt])
    return canonical_json(["row", prompt, *sorted(map(_normal, group.responses))])


def _place(key: str) -> float:
    """Return where in [0, 1) a key falls."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest()) / 2**48


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _heavy_prompts(groups: Sequence[PreferenceGroup]) -> frozenset[str]:
    """Return the prompts that hold over 5 % of the rows, and so many rows that it is no accident of few data."""
    counts = Counter(_normal(prompt_text(group.prompt)) for group in groups if not group.family)
    border = max(_HEAVY_SHARE * len(groups), _HEAVY_ROWS)
    return frozenset(prompt for prompt, count in counts.items() if count > border)


def _drop_near_duplicates(parts: Parts, max_similarity: float) -> list[dict[str, str]]:
    """Take what is like a test group out of the other parts; return the ids with their reasons."""
    others = [(part, group) for part in PARTS if part != "test" for group in parts[part]]
    texts = [_text(group) for _, group in others]
    found = near_duplicates(texts, [_text(group) for group in parts["test"]], threshold=max_similarity)
    dropped = []
    for part in PARTS[1:]:
        parts[part] = []
    for place, (part, group) in enumerate(others):
        match = found.get(place)
        if match is None:
            parts[part].append(group)
        else:
            dropped.append({"id": group.id, "reason": _reason(part, match, parts["test"])})
    return dropped


def _reason(part: str, match: Match, test: Sequence[PreferenceGroup]) -> str:
    return f"{part}: near-duplicate of test group {test[match.reference].id} (Jaccard {match.similarity:.2f})"


def _text(group: PreferenceGroup) -> str:
    return "\n\n".join((prompt_text(group.prompt), *sorted(group.responses)))
