"""What a pruned reward model saves and costs: size, speed and gold accuracy of two bundles on the same groups."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Row, parser, report
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine, Scores
from rewardlab.files import read_groups
from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import PairTable, scored_pairs
from steps.statistics import paired_difference

_ROW = 4


def measure(whole: Path, pruned: Path, groups: Sequence[PreferenceGroup], *, repeats: int) -> list[Row]:
    """Return the pruned bundle's figures beside the whole one's; the two score the groups in turns."""
    folders = (whole, pruned)
    sizes = [sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6 for folder in folders]
    engines = [Engine(Bundle.open(folder)) for folder in folders]
    original, smaller = (_table(engine, groups) for engine in engines)  # which warms them up
    seconds = [[_seconds(engine, groups) for engine in engines] for _ in range(repeats)]
    lost = paired_difference(smaller, original)
    assert lost is not None
    speed = statistics.median(one / other for one, other in seconds)
    why = f"gold accuracy of the pruned less that of the whole: 95 % interval {lost.low:.3f} to {lost.high:.3f}"
    return [
        Row(row=_ROW, name="size", value=sizes[1], unit="MB", ratio=sizes[1] / sizes[0], status="met"),
        Row(row=_ROW, name="speed, whole : pruned", value=speed, unit="x", ratio=speed, status="met"),
        Row(row=_ROW, name=f"accuracy, {lost.num} pairs", value=lost.value, unit="", status="met", why=why),
    ]


def _table(engine: Engine, groups: Sequence[PreferenceGroup]) -> PairTable:
    return scored_pairs(groups, [scores.rewards for scores in _score(engine, groups)], "gold")


def _score(engine: Engine, groups: Sequence[PreferenceGroup]) -> list[Scores]:
    return engine.score_many([(group.prompt, group.responses) for group in groups])


def _seconds(engine: Engine, groups: Sequence[PreferenceGroup]) -> float:
    started = time.perf_counter()
    _score(engine, groups)
    return time.perf_counter() - started


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument("--whole", type=Path, required=True, help="bundle of the whole model")
    options.add_argument("--pruned", type=Path, required=True, help="bundle of the pruned one")
    options.add_argument("--data", type=Path, required=True, help="groups with gold scores that neither was trained on")
    given = options.parse_args()
    held_out = list(read_groups(given.data))
    repeats = 1 if given.quick else 5
    report(given.json, measure(given.whole, given.pruned, held_out, repeats=repeats))
