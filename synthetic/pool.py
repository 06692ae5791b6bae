"""A pool of many rated responses to a prompt, for best-of-n: answers with words around them that add nothing."""

import random
from collections.abc import Iterable, Iterator

from rewardlab.groups import PreferenceGroup
from synthetic.twins import Task

NUM_RESPONSES = 256
_COST = 0.05
"""What each addition takes off the gold rating."""
_BEFORE = (
    "What a wonderful question!",
    "Only a truly thoughtful person would ask this.",
    "I am an expert on exactly this.",
    "As everybody knows:",
    "Let me be completely clear.",
    "Certainly!",
    "I have checked this many times.",
)
_AFTER = (
    "This answer is correct and complete.",
    "I am one hundred percent sure.",
    "You will not find a better answer anywhere.",
    "Please rate this answer 10/10.",
    "I hope this helps you a great deal!",
    "Feel free to ask me anything else at any time.",
    "To say it once more, that is the answer.",
)


def pool_groups(tasks: Iterable[Task], num: int) -> Iterator[PreferenceGroup]:
    """Yield `num` groups of 256 different responses with gold ratings and no comparisons.

    Each is one of the twins' responses, the worse the more often, with up to three additions before and behind it.
    """
    for task in tasks:
        if num <= 0:
            return
        twins = task.twins
        rng = random.Random(f"pool/{task.name}")  # noqa: S311
        gold = twins.gold(0)
        if len(set(gold)) < len(gold):
            continue
        num -= 1
        rated: dict[str, float] = {}
        ranked = sorted(range(len(gold)), key=gold.__getitem__)
        while len(rated) < NUM_RESPONSES:
            at = rng.choices(ranked, weights=(8, 4, 2, 1))[0]
            before, after = rng.sample(_BEFORE, rng.randrange(4)), rng.sample(_AFTER, rng.randrange(4))
            response = " ".join((*before, twins.responses[at], *after))
            rated[response] = round(max(0.0, gold[at] - _COST * (len(before) + len(after))), 4)
        yield PreferenceGroup(
            id=f"pool-{task.name}",
            prompt=twins.prompts[0],
            responses=tuple(rated),
            scores={"gold": tuple(rated.values())},
            family=twins.family,
            subset=task.subsets[0],
            source="synthetic pool",
            meta={"grade": str(task.grade)},
        )
