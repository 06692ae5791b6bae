"""Whether what is trained packed and shared is as good as TRL's: same pairs, order and schedule, three seeds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import Kind, Work, contest
from benchmarks.harness import Row, at_least
from benchmarks.train_inputs import encode, write_start
from benchmarks.trl_contender import install_trl
from rewardlab import files
from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import PairTable, accuracy, labelled_pairs

if TYPE_CHECKING:
    from models.batches import TokenGroup

Groups = Sequence[PreferenceGroup]

_ROW, _MARGIN = 18, -0.02
_SIZE, _RATE = 16, 1e-4
KINDS: tuple[Kind, ...] = ("trl", "shared")


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """What is trained on and how long; `folder` is for scratch."""

    folder: Path
    backbone: str
    num_pairs: int = 2048
    seeds: Sequence[int] = (0, 1, 2)


def quality(course: Course, data: Path) -> list[Row]:
    """Return each trainer's accuracy and time by seed, and whether ours is less accurate by more than two points.

    The embedded data set decides; HH harmless, where `data` has it, stands beside it.
    """
    install_trl()
    rows = _compare("embedded", *_embedded(course), course)
    train, test = data / "train/hh_harmless.jsonl.gz", data / "bench/hh_harmless_heldout.jsonl.gz"
    if train.is_file() and test.is_file():
        rows += _compare("HH harmless", _read(train, course.folder), _read(test, course.folder), course)
    return rows


def _compare(name: str, train: Groups, test: Groups, course: Course) -> list[Row]:
    from steps.statistics import paired_difference

    rows = []
    pairs, asked = _pairs(encode(train, course.backbone)), encode(test, course.backbone)
    for seed in course.seeds:
        tables: dict[Kind, PairTable] = {}
        steps = _steps(pairs, seed, course.num_pairs)
        for kind, (rewards, seconds) in _train(write_start(course.backbone, course.folder), steps, asked).items():
            tables[kind] = labelled_pairs(test, rewards)
            found = accuracy(tables[kind])
            assert found is not None
            label = f"{name}, seed {seed}, {kind}"
            rows.append(Row(row=_ROW, name=f"{label}: accuracy", value=found.value, unit="", status="met"))
            rows.append(Row(row=_ROW, name=f"{label}: training", value=seconds, unit="s", status="met"))
        difference = paired_difference(tables["shared"], tables["trl"])
        assert difference is not None
        label = f"{name}, seed {seed}: shared - TRL, lower end of 95 %, {difference.num} pairs"
        rows.append(at_least(_ROW, label, difference.low, "", _MARGIN))
    return rows


def _train(
    start: Path, steps: Sequence[Sequence["TokenGroup"]], asked: Sequence["TokenGroup"]
) -> dict[Kind, tuple[list[list[float]], float]]:
    """Train both in turns; return each one's rewards of the test groups and the seconds of its steps."""
    work = Work(folder=start, steps=steps, learning_rate=_RATE)
    with contest({kind: (kind, work) for kind in KINDS}) as contenders:
        seconds = dict.fromkeys(KINDS, 0.0)
        for at in range(len(steps)):
            for kind in KINDS:
                step = contenders[kind].step()
                seconds[kind] += step.seconds
                print(f"{time.strftime('%H:%M:%S')} {kind:>6} step {at}: loss {step.loss:.3f}", flush=True)
        return {kind: (_by_group(contenders[kind].rewards(asked), asked), seconds[kind]) for kind in KINDS}


def _by_group(rewards: Sequence[float], groups: Sequence["TokenGroup"]) -> list[list[float]]:
    rest = iter(rewards)
    return [[next(rest) for _ in group.responses] for group in groups]


def _pairs(groups: Sequence["TokenGroup"]) -> list["TokenGroup"]:
    """Return a group of two, chosen and rejected, for each comparison that is no tie."""
    return [
        replace(
            group,
            id=f"{group.id}/{at}",
            responses=(group.responses[entry.better], group.responses[entry.worse]),
            comparisons=(replace(entry, better=0, worse=1, strength=1.0, margin=None),),
            scores=None,
        )
        for group in groups
        for at, entry in enumerate(group.comparisons)
        if entry.strength > 0.5
    ]


def _steps(pairs: Sequence["TokenGroup"], seed: int, num_pairs: int) -> list[list["TokenGroup"]]:
    """Return the steps of one pass: twins side by side, as training has them."""
    from steps.train.order import pair_up, shuffled

    order = list(shuffled(pair_up(pairs), seed=seed, epoch=0))[:num_pairs]
    whole = range(0, len(order) - _SIZE + 1, _SIZE)
    return [[pairs[index] for index in order[at : at + _SIZE]] for at in whole]


def _embedded(course: Course) -> tuple[list[PreferenceGroup], list[PreferenceGroup]]:
    """Return a training and a test part of the embedded data, of wordings of their own, with pairs enough."""
    from steps.ingest import IngestConfig, ingest
    from steps.make_data import MakeDataConfig, make_data
    from steps.split import SplitConfig, split

    folder = course.folder
    make_data(MakeDataConfig(size=max(240, course.num_pairs)), folder / "made")
    ingest(IngestConfig(), folder / "made", folder / "groups")
    split(SplitConfig(train=0.5, validation=0.1, calibration=0.1, test=0.3), folder / "groups", folder / "splits")
    train, test = (list(files.read_groups(folder / "splits" / f"{part}.jsonl.gz")) for part in ("train", "test"))
    return train, test


def _read(source: Path, folder: Path) -> list[PreferenceGroup]:
    from steps.ingest import IngestConfig, ingest

    target = folder / f"quality-{source.name}"
    ingest(IngestConfig(), source, target)
    return list(files.read_groups(target / "groups.jsonl.gz"))
