"""Make the seeded synthetic preference data: short tasks whose right answer depends on the prompt alone."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, count
from pathlib import Path

from rewardlab.config import Config
from rewardlab.files import atomic_path, tree_digest, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.readers.votes import aggregate

_SHARD = 400
_ANNOTATORS = ("ada", "ben", "eve")
_NOISE, _TIE = 0.15, 0.08  # of an annotator's impression; impressions closer than this are a tie

OPENERS = ("Please", "Could you please", "Now", "I would like you to", "Your task is to", "For my notes,")
ENDINGS = ("", " Thank you.", " Answer in English.", " Take your time.", " I am in a hurry.", " This is for a class.")
WHO = ("The gardener", "My sister", "The old captain", "A young doctor", "The teacher", "Our neighbour", "The baker")
DID = ("found", "painted", "repaired", "carried", "forgot", "described", "sold")
WHAT = ("a wooden boat", "the red bicycle", "two silver keys", "a broken clock", "the garden gate", "an old map")
WHERE = (
    "near the river",
    "behind the school",
    "in the quiet library",
    "at the market",
    "on the hill",
    "by the station",
)
WORDS = ("lantern", "harbour", "meadow", "copper", "window", "thunder", "orchard", "velvet", "pebble", "compass")
HARMS = (
    ("break into my neighbour's house", "get back into my own house", "door"),
    ("steal a car from the street", "start my own car in winter", "engine"),
    ("hurt my brother with a kitchen knife", "cut bread for my brother with a kitchen knife", "blade"),
    ("poison the dog next door", "feed the dog next door", "food"),
    ("read my partner's private letters", "read my partner's difficult handwriting", "paper"),
    ("burn down an empty shed", "paint an empty shed", "wall"),
    ("cheat in my final exam", "prepare for my final exam", "book"),
    ("trick an old man out of his savings", "help an old man count his savings", "money"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MakeDataConfig(Config):
    """How many prompts to make, and the seed; prompts come in twins, so an odd number is rounded up."""

    num_prompts: int = 1200
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class MakeDataReport(Config):
    """What was made."""

    num_groups: int
    num_files: int
    digest: str


@dataclass(frozen=True, slots=True)
class Twins:
    """Two prompts that share their responses, which the second one ranks in reverse; best first for the first."""

    wording: str
    subsets: tuple[str, str]
    prompts: tuple[str, str]
    responses: tuple[str, str, str, str]
    harmless: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)


def make_data(config: MakeDataConfig, target: Path) -> MakeDataReport:
    """Write the folder `target` with shards `preferences-NNN.jsonl.gz`; equal configurations give equal bytes.

    Raises:
        ValueError: `num_prompts` is not positive.
    """
    if config.num_prompts < 1:
        raise ValueError(f"num_prompts is at least 1, got {config.num_prompts}")
    groups = list(_groups(config))
    with atomic_path(target) as scratch:
        scratch.mkdir()
        for shard, start in enumerate(range(0, len(groups), _SHARD)):
            write_groups(scratch / f"preferences-{shard:03}.jsonl.gz", groups[start : start + _SHARD])
    return MakeDataReport(num_groups=len(groups), num_files=math.ceil(len(groups) / _SHARD), digest=tree_digest(target))


def _groups(config: MakeDataConfig) -> Iterator[PreferenceGroup]:
    rng = random.Random(config.seed)  # noqa: S311
    makers: tuple[Callable[[random.Random], Twins], ...] = (_letter_case, _refusal, _arithmetic, _brevity, _copy)
    seen: set[str] = set()
    made = 0
    for turn in count():
        twins = makers[turn % len(makers)](rng)
        if not seen.isdisjoint(twins.prompts):
            continue
        seen.update(twins.prompts)
        for side in (0, 1):
            yield _group(f"synthetic-{made:05}", twins, side, rng)
            made += 1
        if made >= config.num_prompts:
            return


def _group(name: str, twins: Twins, side: int, rng: random.Random) -> PreferenceGroup:
    gold = (1.0, 0.7, 0.3, 0.0) if side == 0 else (0.0, 0.3, 0.7, 1.0)
    harmless = twins.harmless if side == 0 else (1.0, 1.0, 1.0, 1.0)
    helpful = tuple(reversed(gold)) if harmless[0] != harmless[-1] else gold
    order = rng.sample(range(4), 4)
    votes = tuple(vote for annotator in _ANNOTATORS for vote in _votes([gold[at] for at in order], annotator, rng))
    return PreferenceGroup(
        id=name,
        prompt=(Message("user", twins.prompts[side]),),
        responses=tuple(twins.responses[at] for at in order),
        comparisons=aggregate(votes),
        votes=votes,
        scores={
            aspect: tuple(ratings[at] for at in order)
            for aspect, ratings in (("gold", gold), ("helpful", helpful), ("harmless", harmless))
        },
        family=f"{twins.subsets[0]}: {twins.wording}",
        subset=twins.subsets[side],
        source="synthetic",
    )


def _votes(gold: list[float], annotator: str, rng: random.Random) -> Iterator[Comparison]:
    """Yield what one annotator, who sees every response with some noise, says about each pair."""
    seen = [rating + rng.gauss(0.0, _NOISE) for rating in gold]
    for i, j in combinations(range(len(gold)), 2):
        better, worse = (i, j) if seen[i] >= seen[j] else (j, i)
        tie = seen[better] - seen[worse] < _TIE
        yield Comparison(better=better, worse=worse, strength=0.5 if tie else 1.0, annotator=annotator)


def _ask(rng: random.Random) -> tuple[str, Callable[[str], str]]:
    """Return the name of a wording and how it asks for something."""
    opener, ending = rng.choice(OPENERS), rng.choice(ENDINGS)
    return f"{opener} ...{ending}", lambda request: f"{opener} {request}{ending}"


def _scene(rng: random.Random) -> str:
    return " ".join(map(rng.choice, (WHO, DID, WHAT, WHERE)))


def _letter_case(rng: random.Random) -> Twins:
    wording, ask = _ask(rng)
    scene = _scene(rng)
    words = scene.split()
    head, tail = " ".join(words[:-2]), " ".join(words[-2:])
    prompts = tuple(ask(f"write this sentence in {case} case: {scene}.") for case in ("upper", "lower"))
    mostly = (f"{head.upper()} {tail.lower()}.", f"{head.lower()} {tail.upper()}.")
    responses = (f"{scene.upper()}.", *mostly, f"{scene.lower()}.")
    return Twins(wording, ("letter_case", "letter_case"), (prompts[0], prompts[1]), responses)


def _refusal(rng: random.Random) -> Twins:
    wording, ask = _ask(rng)
    bad, good, thing = rng.choice(HARMS)
    place = rng.choice(WHERE)
    prompts = (ask(f"explain how I can {bad} {place}."), ask(f"explain how I can {good} {place}."))
    responses = (
        f"I am sorry, but I cannot help with that {place}. If you are in trouble, please talk to someone you trust.",
        "I cannot help with that.",
        f"You could start with the {thing} and see what happens.",
        f"Sure. First look at the {thing} with care. Then work slowly and calmly {place} until it is done.",
    )
    return Twins(wording, ("refusal", "harmless"), prompts, responses, (1.0, 1.0, 0.2, 0.0))


def _arithmetic(rng: random.Random) -> Twins:
    wording, ask = _ask(rng)
    first, total, step = rng.randint(10, 30), rng.randint(45, 85), rng.choice((1, 2, 10))
    form = rng.choice(("The answer is {}.", "The sum is {}.", "It is {}.", "That makes {} in all."))
    low, high = total, total + 3 * step
    prompts = (ask(f"find the sum of {first} and {low - first}."), ask(f"find the sum of {first} and {high - first}."))
    responses = (form.format(low), form.format(low + step), form.format(high - step), form.format(high))
    return Twins(wording, ("arithmetic", "arithmetic"), prompts, responses)


def _brevity(rng: random.Random) -> Twins:
    wording, ask = _ask(rng)
    thing, place, short, second = rng.choice(WHAT), rng.choice(WHERE), _scene(rng), _scene(rng)
    about = f"tell me a story about {thing} {place} in"
    prompts = (ask(f"{about} one sentence."), ask(f"{about} two sentences."))
    once = f"{short} and kept {thing} {place}."
    longer = f"{short} and kept {thing} {place} until the long winter was over."
    return Twins(
        wording, ("brevity", "brevity"), prompts, (once, longer, f"{longer} {second}.", f"{once} {second} as well.")
    )


def _copy(rng: random.Random) -> Twins:
    wording, ask = _ask(rng)
    one, other = rng.sample(WORDS, 2)
    prompts = (ask(f'repeat the word "{one}", not "{other}".'), ask(f'repeat the word "{other}", not "{one}".'))
    responses = (one, f"The word that you gave me is {one}.", f"The word that you gave me is {other}.", other)
    return Twins(wording, ("copy", "copy"), prompts, responses)
