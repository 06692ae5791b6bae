"""Evaluation over shards: each scores its part of the test groups; what is measured is measured of all together."""

from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path

from rewardlab.bundle import Bundle
from rewardlab.files import atomic_path, read_groups, read_json, tree_digest, write_json
from steps.evaluate.evaluate import EvaluateConfig, EvaluateReport, evaluate
from steps.scores import keep, score
from steps.shards import Shard, results

_BLOCK = 256


def evaluate_shard(bundle: Path, test: Path, target: Path, shard: Shard) -> str:
    """Score every n-th block of test groups into a folder; return the digest of the rewards."""
    groups = list(read_groups(test))
    blocks = list(shard.of([groups[start : start + _BLOCK] for start in range(0, len(groups), _BLOCK)]))
    rewards = iter(score(Bundle.open(bundle), list(chain.from_iterable(blocks))) if blocks else [])
    with atomic_path(target) as scratch:
        shard.write(scratch, (list(islice(rewards, len(block))) for block in blocks), _save)
    return tree_digest(target)


def evaluate_shards(
    config: EvaluateConfig, bundle: Path, test: Path, parts: Sequence[Path], target: Path, *, champion: str = ""
) -> EvaluateReport:
    """Write what `evaluate` would have written, from the rewards that the shards gave.

    Raises:
        ValueError: as `evaluate`, or a shard is missing.
    """
    rewards = list(chain.from_iterable(results(parts, read_json, suffix=".json")))
    keep(Bundle.open(bundle), list(read_groups(test)), rewards)
    return evaluate(config, bundle, test, target, champion=champion)


def _save(path: Path, rewards: list[list[float]]) -> None:
    write_json(path.with_suffix(".json"), rewards)
