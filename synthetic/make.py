"""Make the seeded synthetic preference data: prompts in twins, whose responses are told apart by the prompt alone."""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

from rewardlab.config import Config, canonical_json
from rewardlab.files import atomic_path, tree_digest, write_groups
from rewardlab.groups import PreferenceGroup
from rewardlab.readers.reader import content_id
from rewardlab.readers.votes import aggregate
from rewardlab.text import share64
from synthetic.annotators import votes
from synthetic.injection import injection
from synthetic.numbers import arithmetic, dates_units
from synthetic.pool import pool_groups
from synthetic.reading import multi_turn, passage, unknown
from synthetic.safety import bias, refusal
from synthetic.twins import Task, Twins
from synthetic.writing import counts_formats, json_keys, string_edits

Maker = Callable[[random.Random, int], Twins]
MAKERS: tuple[Maker, ...] = (
    arithmetic,
    dates_units,
    string_edits,
    counts_formats,
    json_keys,
    injection,
    passage,
    unknown,
    refusal,
    multi_turn,
    bias,
)
"""Each makes both prompts of a subset; those of `refusal` belong to two subsets, so it has two turns in a round."""
_TURNS = (*MAKERS, refusal)
_GRADES = (1, 2, 1, 1, 3, 1, 1, 2, 1, 1, 1, 2, 1, 3, 1, 1, 2, 1, 3, 1)
"""The difficulty of every twenty pairs of prompts of a subset."""
_TRIES = 100
"""So often a prompt is made anew that was there before; a large set then repeats it, with other responses."""
_SHARD = 2000
Advance = Callable[[int], object]
_TEST_SHARE, _LEAST_TEST_SHARE = 0.1, 0.06


@dataclass(frozen=True, kw_only=True, slots=True)
class MakeDataConfig(Config):
    """How many prompts to make (an odd number is rounded up), the seed, and how labels are bent.

    `noise` is the share of votes decided by a coin, `length_bias` the share that goes to the longer response. Where
    either is set, the target holds `train/`, whose labels are bent, and `test/`, whose labels are not, with families
    of its own. `pool` makes that many prompts with 256 rated responses each and no comparisons instead, of families
    that every recipe's split keeps for testing: a model that was trained on the data has not seen them.
    """

    size: int = 6000
    seed: int = 0
    noise: float = 0.0
    length_bias: float = 0.0
    pool: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.pool < 0:
            raise ValueError(f"size is at least 1 and pool at least 0, got {self.size} and {self.pool}")
        for name in ("noise", "length_bias"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MakeDataReport(Config):
    """What was made."""

    num_groups: int
    digest: str


def make_data(config: MakeDataConfig, target: Path, *, advance: Advance = lambda _num: None) -> MakeDataReport:
    """Write shards `preferences-NNN.jsonl.gz` to the folder `target`; equal configurations give equal bytes.

    A group depends on the seed, its subset and its number there, and on nothing else: a larger set holds every group
    of a smaller one, and a subset that is added changes no other. `advance` is told how many prompts are done.
    """
    with atomic_path(target) as scratch:
        scratch.mkdir()
        if config.pool:
            unseen = (task for task in _tasks(config) if _is_tested(task.twins.family))
            num_groups = _write(scratch, pool_groups(unseen, config.pool))
        elif config.noise or config.length_bias:
            plain = replace(config, noise=0.0, length_bias=0.0)
            num_groups = _write(scratch / "train", (g for g in _groups(config, advance) if not _is_test(g.family)))
            num_groups += _write(scratch / "test", (g for g in _groups(plain, advance) if _is_test(g.family)))
        else:
            num_groups = _write(scratch, _groups(config, advance))
    return MakeDataReport(num_groups=num_groups, digest=tree_digest(target))


def _write(folder: Path, groups: Iterable[PreferenceGroup]) -> int:
    """Write groups in shards; return how many."""
    folder.mkdir(exist_ok=True)
    total, rest = 0, iter(groups)
    for shard in count():
        if not (written := write_groups(folder / f"preferences-{shard:03}.jsonl.gz", islice(rest, _SHARD))):
            break
        total += written
    (folder / f"preferences-{shard:03}.jsonl.gz").unlink()
    return total


def _is_test(family: str) -> bool:
    return share64(family) < _TEST_SHARE


def _is_tested(family: str) -> bool:
    """Say whether a split puts the family into the test set, at the least share that a recipe has."""
    return share64(canonical_json(["family", family])) < _LEAST_TEST_SHARE


def _groups(config: MakeDataConfig, advance: Advance) -> Iterator[PreferenceGroup]:
    for task in islice(_tasks(config), math.ceil(config.size / 2)):
        for side in (0, 1):
            yield _group(task, side, config)
        advance(2)


def _tasks(config: MakeDataConfig) -> Iterator[Task]:
    """Yield twins with their names, a round of all subsets after another."""
    made, seen = dict.fromkeys(MAKERS, 0), set[str]()
    while True:
        for maker in _TURNS:
            name = f"{maker.__name__}-{made[maker]:06}"
            grade = _GRADES[made[maker] % len(_GRADES)]
            made[maker] += 1
            for attempt in count():
                twins = maker(random.Random(f"{config.seed}/{name}/{attempt}"), grade)  # noqa: S311
                responses = () if attempt < _TRIES else twins.responses
                keys = {content_id(prompt, responses) for prompt in twins.prompts}
                if seen.isdisjoint(keys):
                    break
            seen |= keys
            second = "harmless" if maker is refusal else maker.__name__
            yield Task(name, (maker.__name__, second), grade, twins)


def _group(task: Task, side: int, config: MakeDataConfig) -> PreferenceGroup:
    name, twins = f"{task.name}-{'ab'[side]}", task.twins
    rng = random.Random(f"{config.seed}/{name}/labels")  # noqa: S311
    order = rng.sample(range(len(twins.responses)), len(twins.responses))
    responses = tuple(twins.responses[at] for at in order)
    gold, helpful = twins.gold(side), twins.helpful[side]
    harmless = twins.harmless[side] if twins.harmless else (1.0,) * len(responses)
    said = tuple(
        votes(
            [gold[at] for at in order],
            list(map(len, responses)),
            rng,
            noise=config.noise,
            length_bias=config.length_bias,
        )
    )
    return PreferenceGroup(
        id=name,
        prompt=twins.prompts[side],
        responses=responses,
        comparisons=aggregate(said),
        votes=said,
        scores={
            aspect: tuple(ratings[at] for at in order)
            for aspect, ratings in (("gold", gold), ("helpful", helpful), ("harmless", harmless))
        },
        family=twins.family,
        subset=task.subsets[side],
        source="synthetic",
        meta={"grade": str(task.grade)},
    )
