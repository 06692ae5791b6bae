"""Two prompts that share their responses and rank them in reverse, so that a response alone tells nothing."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from rewardlab.groups import Message
from synthetic.words import ANSWERS, CLOSINGS, OPENERS, TEXTS

Prompt = tuple[Message, ...]
Ratings = tuple[float, ...]
Ask = Callable[..., str]
EITHER: tuple[Ratings, Ratings] = ((1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0))
"""Two responses are right under the one prompt, and the other two under the other."""
EXACT_OR_VAGUE: tuple[Ratings, Ratings] = ((1.0, 0.7, 0.3, 0.0), (0.0, 0.3, 0.7, 1.0))
"""As `EITHER`, and one response of each two is half-hearted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """Two prompts, their common responses, and what the verifier says of each response under each prompt.

    `helpful` and `harmless` are ratings in [0, 1], a row for each prompt. A response's gold rating is its helpfulness
    where the request is harmless, else its harmlessness.

    Raises:
        AssertionError: a pair of responses that one prompt orders is not ordered in reverse by the other.
    """

    family: str
    prompts: tuple[Prompt, Prompt]
    responses: tuple[str, ...]
    helpful: tuple[Ratings, Ratings]
    harmless: tuple[Ratings, Ratings] | None = None

    def __post_init__(self) -> None:
        one, other = self.gold(0), self.gold(1)
        assert len(set(self.responses)) == len(self.responses), self.responses
        for i, j in combinations(range(len(self.responses)), 2):
            assert _sign(one[i] - one[j]) == -_sign(other[i] - other[j]), (self.responses, one, other)

    def gold(self, side: int) -> Ratings:
        """Return the gold ratings under one of the two prompts."""
        if self.harmless and min(self.harmless[side]) < 1.0:
            return self.harmless[side]
        return self.helpful[side]


@dataclass(frozen=True, slots=True)
class Task:
    """Twins as they stand in the data: their name, the subset of each prompt, and their grade of difficulty."""

    name: str
    subsets: tuple[str, str]
    grade: int
    twins: Twins


def user(text: str) -> Prompt:
    """Return a prompt of one user turn."""
    return (Message("user", text),)


def wording(rng: random.Random, subset: str, cores: Sequence[str]) -> tuple[str, Ask]:
    """Return a family, which is an opener with a core phrase, and the function that asks with it."""
    opener, core, closing = rng.choice(OPENERS), rng.choice(cores), rng.choice(CLOSINGS)
    return f"{subset}: {opener} {core}", lambda **parts: f"{opener} {core.format(**parts)}{closing}"


def answer(rng: random.Random, text: str) -> str:
    """Return a short answer in one of many sentences."""
    return rng.choice(ANSWERS).format(text)


def text(rng: random.Random, body: str) -> str:
    """Return a text that was asked for, with or without words around it."""
    return rng.choice(TEXTS).format(body)


def nearness(values: Sequence[int], one: int, other: int) -> tuple[Ratings, Ratings]:
    """Rate values under each prompt: 1 where a value is its truth, falling linearly to 0 at the other truth."""
    span = abs(other - one)
    return _near(values, one, span), _near(values, other, span)


def _near(values: Sequence[int], truth: int, span: int) -> Ratings:
    return tuple(round(max(0.0, 1.0 - abs(value - truth) / span), 4) for value in values)


def _sign(value: float) -> int:
    return (value > 1e-9) - (value < -1e-9)
