"""Whether what is trained packed and shared is as good as TRL's: same pairs, order and schedule, three seeds.

Both train the same upper layers. What a seed has given is kept, so that a comparison that is interrupted goes on.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
Steps = Sequence[Sequence["TokenGroup"]]

_ROW, _MARGIN = 18, -0.02
_SIZE, _RATE = 16, 4e-4
_LONGEST = 160
"""Tokens of the longest pair to train on: TRL pads all its batch to it, which on HH takes four times as long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """What is trained on and how long; `folder` is for scratch, `kept` for what each seed has given.

    TRL takes an hour for three seeds of the lowest 18 layers with the upper 8 of them trained, and three for all 30.
    """

    folder: Path
    kept: Path
    backbone: str
    num_pairs: int = 2048
    num_layers: int = 18
    freeze_layers: int = 10
    seeds: Sequence[int] = (0, 1, 2)
    rival: Kind = "trl"

    @property
    def kinds(self) -> tuple[Kind, Kind]:
        """Return who is compared."""
        return self.rival, "shared"


def quality(course: Course, data: Path) -> list[Row]:
    """Return each trainer's accuracy and time by seed, and whether ours is less accurate by more than two points.

    The embedded data set decides; HH harmless, where `data` has it, stands beside it.
    """
    if course.rival == "trl":
        install_trl()
    rows = _compare("embedded", *embedded(course.folder, size=max(240, course.num_pairs)), course)
    train, test = data / "train/hh_harmless.jsonl.gz", data / "bench/hh_harmless_heldout.jsonl.gz"
    if train.is_file() and test.is_file():
        rows += _compare("HH harmless", _read(train, course.folder), _read(test, course.folder), course)
    return rows


def _compare(name: str, train: Groups, test: Groups, course: Course) -> list[Row]:
    from steps.common.statistics import paired_difference

    rows: list[Row] = []
    tables: dict[Kind, list[PairTable]] = {kind: [] for kind in course.kinds}
    pairs = [pair for pair in _pairs(encode(train, course.backbone)) if pair.longest <= _LONGEST]
    asked = encode(test, course.backbone)
    for seed in course.seeds:
        found = _once(course, f"{name}-{seed}", _steps(pairs, seed, course.num_pairs), asked)
        for kind in course.kinds:
            tables[kind].append(labelled_pairs(test, found[kind]["rewards"]))
            right = accuracy(tables[kind][-1])
            assert right is not None
            label = f"{name}, seed {seed}, {kind}"
            rows.append(Row(row=_ROW, name=f"{label}: accuracy", value=right.value, unit="", status="met"))
            rows.append(Row(row=_ROW, name=f"{label}: training", value=found[kind]["cpu"], unit="CPU s", status="met"))
    ours, theirs = _together(tables["shared"]), _together(tables[course.rival])
    difference = paired_difference(ours, theirs)
    assert difference is not None
    label = f"{name}: shared - {course.rival}, lower end of 95 %"
    why = f"difference {difference.value:.4f}, upper end {difference.high:.4f}, {difference.num} pairs of all seeds"
    return [*rows, at_least(_ROW, label, difference.low, "", _MARGIN, why)]


def _once(course: Course, name: str, steps: Steps, asked: Sequence["TokenGroup"]) -> Any:
    """Return what a seed gives, from the file that keeps it if there is one."""
    kept = course.kept / f"{name}.json"
    if not kept.is_file():
        files.write_json(kept, _train(course, steps, asked))
    return files.read_json(kept)


def _together(tables: Sequence[PairTable]) -> PairTable:
    """Return all seeds' pairs in one table, in which a prompt is one cluster whatever the seed."""
    columns = ("better", "worse", "strength", "cluster")
    return PairTable(*(np.concatenate([getattr(table, column) for table in tables]) for column in columns))


def _train(course: Course, steps: Steps, asked: Sequence["TokenGroup"]) -> dict[Kind, Any]:
    """Train both in turns; return each one's rewards of the test groups and the CPU seconds of its steps."""
    work = Work(
        folder=write_start(course.backbone, course.folder, num_layers=course.num_layers),
        steps=steps,
        learning_rate=_RATE,
        decay="cosine",
        freeze_layers=course.freeze_layers,
    )
    with contest({kind: (kind, work) for kind in course.kinds}) as contenders:
        cpu = dict.fromkeys(course.kinds, 0.0)
        for at in range(len(steps)):
            for kind in course.kinds:
                step = contenders[kind].step()
                cpu[kind] += step.cpu
                print(f"{time.strftime('%H:%M:%S')} {kind:>6} step {at}: loss {step.loss:.3f}", flush=True)
        return {
            kind: {"cpu": cpu[kind], "rewards": _by_group(contenders[kind].rewards(asked), asked)}
            for kind in course.kinds
        }


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


def embedded(folder: Path, *, size: int) -> tuple[list[PreferenceGroup], list[PreferenceGroup]]:
    """Return a training and a test part, half and three tenths, of embedded data, each of wordings of its own."""
    from steps.ingest import IngestConfig, ingest
    from steps.split import SplitConfig, split
    from synthetic import MakeDataConfig, make_data

    make_data(MakeDataConfig(size=size), folder / "made")
    ingest(IngestConfig(), folder / "made", folder / "groups")
    split(SplitConfig(train=0.5, validation=0.1, calibration=0.1, test=0.3), folder / "groups", folder / "splits")
    train, test = (list(files.read_groups(folder / "splits" / f"{part}.jsonl.gz")) for part in ("train", "test"))
    return train, test


def _read(source: Path, folder: Path) -> list[PreferenceGroup]:
    from steps.ingest import IngestConfig, ingest

    target = folder / f"quality-{source.name}"
    ingest(IngestConfig(), source, target)
    return list(files.read_groups(target / "groups.jsonl.gz"))
