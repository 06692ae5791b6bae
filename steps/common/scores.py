"""Rewards of a bundle on groups, kept so that a test set is scored once per bundle."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

import rewardlab
from rewardlab.bundle import Bundle
from rewardlab.config import canonical_json
from rewardlab.engine import Engine
from rewardlab.files import atomic_path, file_digest
from rewardlab.groups import PreferenceGroup
from rewardlab.home import home
from steps.common.progress import progress
from steps.common.statistics import by_group

Rewards = list[list[float]]


def score(bundle: Bundle, groups: Sequence[PreferenceGroup]) -> Rewards:
    """Return one reward per response of each group; the same bundle, texts, code and ONNX Runtime are asked once."""

    def compute() -> Rewards:
        num = sum(len(group.responses) for group in groups)
        with progress(num, f"score {bundle.label}", unit="responses") as bar:
            scored = Engine(bundle).score_many(
                [(group.prompt, group.responses) for group in groups], on_progress=bar.update
            )
        return [list(each.rewards) for each in scored]

    return recall(f"{bundle.digest} {_code()} {version('onnxruntime')}", groups, compute)


def recall(who: str, groups: Sequence[PreferenceGroup], compute: Callable[[], Rewards]) -> Rewards:
    """Return one finite number per response: what `who` gave the same texts before, or what is computed and kept.

    `who` names everything but the texts that the numbers depend on. They are kept in `scores/` in `home()`.

    Raises:
        ValueError: what was kept is damaged.
    """
    kept = _place(who, groups)
    if not kept.is_file():
        rewards = compute()
        with atomic_path(kept) as scratch, scratch.open("wb") as file:
            np.save(file, np.concatenate([np.asarray(row) for row in rewards]), allow_pickle=False)
        return rewards
    flat = np.load(kept, allow_pickle=False)
    num = sum(len(group.responses) for group in groups)
    if len(flat) != num or not np.isfinite(flat).all():
        raise ValueError(f"{kept} does not hold {num} finite numbers: delete it")
    return by_group(flat, groups)


def _place(who: str, groups: Sequence[PreferenceGroup]) -> Path:
    texts = ([[[turn.role, turn.content] for turn in group.prompt], list(group.responses)] for group in groups)
    key = hashlib.sha256(f"{who}\n".encode())
    for text in texts:
        key.update(canonical_json(text).encode("utf-8", "surrogatepass") + b"\n")
    return home() / "scores" / f"{key.hexdigest()}.npy"


@cache
def _code() -> str:
    """Return a digest of the ground's code, which renders, tokenizes and scores."""
    room = Path(rewardlab.__file__).parent
    return hashlib.sha256("".join(map(file_digest, sorted(room.rglob("*.py")))).encode()).hexdigest()
