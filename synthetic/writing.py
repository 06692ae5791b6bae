"""Subsets about the form of a text: string edits, counts and formats, JSON. The verifier reads the response itself."""

import json
import random
from collections.abc import Mapping, Sequence
from itertools import combinations

from synthetic.twins import EITHER, Ask, Ratings, Twins, nearness, text, user, wording
from synthetic.words import DETAILS, NAMES, PLACES, THINGS, VERBS, WORDS

_CASE = (
    'Write this sentence in {how} case: "{body}"',
    'Convert the following text to {how} case letters: "{body}"',
    'Rewrite "{body}" with every letter in {how} case.',
    'Give me {how} case letters throughout for "{body}".',
)
_SORT = (
    "Sort these words from {how}: {body}.",
    "Put the following words into order from {how}: {body}.",
    "Arrange {body} from {how}.",
    "Here are some words: {body}. List them from {how}.",
)
_CUT = (
    "Remove the {how} letter of each of these words: {body}.",
    "Write these words without their {how} letter: {body}.",
    "Drop the {how} letter from every word in this list: {body}.",
    "For each word, leave out the {how} letter: {body}.",
)
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SENTENCES = (
    "Write {how} about {body}.",
    "Tell me about {body} in {how}.",
    "Describe {body}. Use exactly {how}.",
    "I would like {how} about {body}.",
)
_BULLETS = (
    "List {how} about {body}.",
    "Give me {how} about {body}, as a list.",
    "Make a bulleted list with {how} about {body}.",
    "Note down {how} about {body}.",
)
_LENGTHS = (
    "Describe {body} in {how}.",
    "Write a caption of {how} about {body}.",
    "Use {how} to describe {body}.",
    "Give me a line of {how} about {body}.",
)
_VALUES = (
    "Return a JSON object with the keys {body}. Write every value as a {how}.",
    "Give me JSON with the keys {body}, where each value is a {how}.",
    "Make a JSON object from the keys {body}, whose values all have the type {how}.",
    "I need the keys {body} as JSON. Each value must be a {how}.",
)
_KEYS = (
    "Return a JSON object about {body} with the keys {yes}. Leave out the keys {no}.",
    "Describe {body} as JSON. Use the keys {yes} and do not use the keys {no}.",
    "I need JSON for {body} with {yes} as keys, but without {no}.",
    "Write {body} down as a JSON object that has {yes} and lacks {no}.",
)
_ORDERED = (
    "Return a JSON object with these keys in exactly this order: {body}.",
    "Write JSON whose keys come in the order {body}.",
    "Keep this order of keys in the JSON object that you write: {body}.",
    "The keys of the JSON object must appear as {body}, in that order.",
)
_Json = tuple[tuple[str, str], Sequence[Mapping[str, int | str]], tuple[Ratings, Ratings]]
_FIELDS = ("age", "size", "year", "price", "weight", "height", "score", "count", "rank", "width", "depth", "level")


def string_edits(rng: random.Random, grade: int) -> Twins:
    """Change letter case, sort words, or cut letters off; the prompts ask for opposite edits."""
    if grade == 1:
        return _letter_case(rng)
    family, ask = wording(rng, "string_edits", _SORT if grade == 2 else _CUT)
    words = rng.sample(WORDS, 5)
    if grade == 2:
        hows, target = ("A to Z", "Z to A"), sorted(words)
        lists = _swapped(rng, target)
        rate = [_agreement(each, target) for each in lists]
    else:
        hows = ("first", "last")
        cuts = rng.sample(range(5), 5)
        lists = [
            [word[1:] if at in cuts[:keep] else word[:-1] for at, word in enumerate(words)] for keep in (5, 3, 2, 0)
        ]
        rate = [round(sum(cut == word[1:] for cut, word in zip(each, words, strict=True)) / 5, 4) for each in lists]
    body = ", ".join(words)
    return Twins(
        family=family,
        prompts=(user(ask(how=hows[0], body=body)), user(ask(how=hows[1], body=body))),
        responses=tuple(text(rng, ", ".join(each)) for each in lists),
        helpful=_opposite(rate),
    )


def _letter_case(rng: random.Random) -> Twins:
    family, ask = wording(rng, "string_edits", _CASE)
    body = scene(rng)
    return Twins(
        family=family,
        prompts=(user(ask(how="upper", body=body)), user(ask(how="lower", body=body))),
        responses=tuple(
            text(rng, each) for each in (body.upper(), f"{body.upper()}!", body.lower(), f"{body.lower()}!")
        ),
        helpful=EITHER,
    )


def counts_formats(rng: random.Random, grade: int) -> Twins:
    """Ask for a number of sentences, of bullets or of words; the prompts ask for few and for many."""
    adjective, noun = rng.choice(THINGS)
    body = f"the {adjective} {noun} {rng.choice(PLACES)}"
    low = {1: 1, 2: rng.randint(2, 3), 3: rng.randint(5, 8)}[grade]
    counts = [low + more for more in range(4)]
    unit, cores = {1: ("sentence", _SENTENCES), 2: ("point", _BULLETS), 3: ("word", _LENGTHS)}[grade]
    family, ask = wording(rng, "counts_formats", cores)
    hows = [f"{_NUMBERS[count - 1]} {unit}{'s' if count > 1 else ''}" for count in (counts[0], counts[3])]
    write = {1: sentences, 2: _bullets, 3: _words}[grade]
    return Twins(
        family=family,
        prompts=(user(ask(how=hows[0], body=body)), user(ask(how=hows[1], body=body))),
        responses=tuple(write(rng, noun, count) for count in counts),
        helpful=nearness(counts, counts[0], counts[3]),
    )


def json_keys(rng: random.Random, grade: int) -> Twins:
    """Ask for JSON with a given order of keys, with given keys, or with a type of values."""
    family, ask = wording(rng, "json_keys", {1: _ORDERED, 2: _KEYS, 3: _VALUES}[grade])
    keys = rng.sample(_FIELDS, 4)
    values = {key: rng.randint(2, 90) for key in keys}
    prompts, objects, helpful = {1: _json_order, 2: _json_fields, 3: _json_types}[grade](rng, ask, values)
    return Twins(
        family=family,
        prompts=(user(prompts[0]), user(prompts[1])),
        responses=tuple(text(rng, json.dumps(each)) for each in objects),
        helpful=helpful,
    )


def _json_order(rng: random.Random, ask: Ask, values: Mapping[str, int]) -> _Json:
    keys = list(values)
    orders = _swapped(rng, keys)
    objects = [{key: values[key] for key in order} for order in orders]
    prompts = (ask(body=", ".join(keys)), ask(body=", ".join(reversed(keys))))
    return prompts, objects, _opposite([_agreement(order, keys) for order in orders])


def _json_fields(rng: random.Random, ask: Ask, values: Mapping[str, int]) -> _Json:
    keys = list(values)
    first_half, second_half = keys[:2], keys[2:]
    body = f"the {' '.join(rng.choice(THINGS))} {rng.choice(PLACES)}"

    # the same four objects answer both prompts, which ask for opposite halves of the fields
    fields = (first_half, [*first_half, keys[2]], [keys[1], *second_half], second_half)
    objects = [{key: values[key] for key in names} for names in fields]
    one, other = " and ".join(first_half), " and ".join(second_half)
    prompts = (ask(body=body, yes=one, no=other), ask(body=body, yes=other, no=one))
    return prompts, objects, (_matches(fields, first_half), _matches(fields, second_half))


def _json_types(_: random.Random, ask: Ask, values: Mapping[str, int]) -> _Json:
    keys = list(values)
    objects = [
        {key: value if at < numeric else str(value) for at, (key, value) in enumerate(values.items())}
        for numeric in (4, 3, 1, 0)
    ]
    prompts = (ask(body=", ".join(keys), how="number"), ask(body=", ".join(keys), how="string"))
    return prompts, objects, _opposite([1.0, 0.75, 0.25, 0.0])


def scene(rng: random.Random) -> str:
    """Return a short sentence."""
    adjective, noun = rng.choice(THINGS)
    return f"{rng.choice(NAMES)} {rng.choice(VERBS)} the {adjective} {noun} {rng.choice(PLACES)}"


def _swapped(rng: random.Random, words: list[str]) -> list[list[str]]:
    """Return the words in order, nearly in order, nearly reversed, and reversed: nearly is with two swapped."""
    near = _with_neighbours_swapped(words, rng.randrange(len(words) - 1))
    far = _with_neighbours_swapped(words, rng.randrange(len(words) - 1))[::-1]
    return [words, near, far, words[::-1]]


def _with_neighbours_swapped(words: list[str], at: int) -> list[str]:
    return [*words[:at], words[at + 1], words[at], *words[at + 2 :]]


def _agreement(words: list[str], target: list[str]) -> float:
    """Return the share of pairs of words that stand in the target's order."""
    place = {word: at for at, word in enumerate(target)}
    pairs = list(combinations(words, 2))
    return round(sum(place[one] < place[other] for one, other in pairs) / len(pairs), 4)


def _opposite(rates: list[float]) -> tuple[Ratings, Ratings]:
    """Return the ratings under a request and under its opposite."""
    return tuple(rates), tuple(round(1.0 - rate, 4) for rate in rates)


def _matches(found: Sequence[list[str]], wanted: list[str]) -> Ratings:
    """Return the F1 of each list of keys."""
    return tuple(round(2 * len({*keys} & {*wanted}) / (len(keys) + len(wanted)), 4) for keys in found)


def sentences(rng: random.Random, noun: str, count: int) -> str:
    """Return up to six sentences about a thing."""
    starts = rng.sample(
        (
            f"The {noun} has been there for years",
            f"{rng.choice(NAMES)} saw the {noun} {rng.choice(DETAILS)}",
            f"Nobody knows who left the {noun}",
            f"People stop to look at it {rng.choice(DETAILS)}",
            f"It was {rng.choice(VERBS)} by {rng.choice(NAMES)}",
            f"The children of the town love the {noun}",
        ),
        count,
    )
    return " ".join(f"{start}{rng.choice(('', f' {rng.choice(PLACES)}'))}." for start in starts)


def _bullets(rng: random.Random, noun: str, count: int) -> str:
    points = rng.sample(
        (
            f"The {noun} is old",
            f"{rng.choice(NAMES)} takes care of it",
            "It is easy to find",
            f"It was {rng.choice(VERBS)} {rng.choice(DETAILS)}",
            "Visitors like it",
            f"The {noun} needs some paint",
            "It cannot be bought",
            f"Someone left it {rng.choice(PLACES)}",
        ),
        count,
    )
    return "\n".join(f"- {point}" for point in points)


def _words(rng: random.Random, noun: str, count: int) -> str:
    looks = rng.sample(
        ("still", "quiet", "bright", "lonely", "weathered", "proud", "silent", "warm", "empty"), count - 3
    )
    return f"The {noun} stands {', '.join(looks)}."
