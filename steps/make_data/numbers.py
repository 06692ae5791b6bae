"""Subsets about numbers: arithmetic, units and dates. The verifier measures how far an answer is from the truth."""

import calendar
import random
from collections.abc import Callable
from datetime import date, timedelta

from steps.make_data.twins import Twins, answer, nearness, user, wording

_ARITHMETIC = {
    1: (
        "What is {a} plus {b}?",
        "Add {b} to {a}.",
        "Find the sum of {a} and {b}.",
        "I have {a} coins and get {b} more. How many do I have?",
    ),
    2: (
        "What is {a} minus {b}?",
        "Take {b} away from {a}.",
        "A shop had {a} loaves and sold {b}. How many are left?",
        "Subtract {b} from {a} and give me the result.",
    ),
    3: (
        "What is {a} times {b}?",
        "Multiply {a} by {b}.",
        "There are {a} boxes with {b} nails in each. How many nails are there?",
        "Work out the product of {a} and {b}.",
    ),
}
_UNITS = (("hours", "minutes", 60), ("kilometres", "metres", 1000), ("weeks", "days", 7), ("dozen eggs", "eggs", 12))
_CONVERT = (
    "How many {small} are {n} {large}?",
    "Convert {n} {large} to {small}.",
    "I have {n} {large}. How many {small} is that?",
    "Express {n} {large} in {small}.",
)
_WEEKDAY = (
    "Today is {start}. Which day of the week is it in {n} days?",
    "If it is {start} today, what day will it be {n} days later?",
    "A letter is sent on a {start} and takes {n} days. On which day of the week does it arrive?",
    "Count {n} days forward from {start} and name the day of the week.",
)
_DATE = (
    "Which date is {n} days after {start}?",
    "A course starts on {start} and the test is {n} days later. When is the test?",
    "Count {n} days forward from {start} and tell me the date.",
    "If I leave on {start} and come back after {n} days, on what date am I back?",
)


def arithmetic(rng: random.Random, grade: int) -> Twins:
    """Make a sum, a difference or a product; the prompts differ in one number."""
    family, ask = wording(rng, "arithmetic", _ARITHMETIC[grade])
    if grade == 3:
        fixed, low = rng.randint(12, 29), rng.randint(12, 40)
        operands, step = ((low, fixed), (low + 3, fixed)), fixed
        truths = [a * b for a, b in operands]
    else:
        size = (10, 40) if grade == 1 else (120, 480)
        fixed, low, step = rng.randint(*size), rng.randint(*size), rng.choice((1, 2, 10))
        if grade == 1:
            operands = ((low, fixed), (low + 3 * step, fixed))
            truths = [a + b for a, b in operands]
        else:
            operands = ((low + fixed, fixed), (low + fixed + 3 * step, fixed))
            truths = [a - b for a, b in operands]
    values = [truths[0] + step * at for at in range(4)]
    return Twins(
        family=family,
        subsets=("arithmetic", "arithmetic"),
        grade=grade,
        prompts=(user(ask(a=operands[0][0], b=fixed)), user(ask(a=operands[1][0], b=fixed))),
        responses=tuple(answer(rng, str(value)) for value in values),
        helpful=_near(truths[0], truths[1], values),
    )


def dates_units(rng: random.Random, grade: int) -> Twins:
    """Convert units, count days of the week, or count days over the end of a month."""
    say: Callable[[int], str]
    if grade == 1:
        (large, small, size), low = rng.choice(_UNITS), rng.randint(2, 12)
        family, ask = wording(rng, "dates_units", _CONVERT)
        fixed, numbers = {"large": large, "small": small}, [low + at for at in range(4)]
        say = lambda n: f"{n * size} {small.split()[-1]}"  # noqa: E731
    elif grade == 2:
        start, low = rng.randrange(7), rng.randint(1, 10)
        family, ask = wording(rng, "dates_units", _WEEKDAY)
        fixed, numbers = {"start": calendar.day_name[start]}, [low + at for at in range(4)]
        say = lambda n: calendar.day_name[(start + n) % 7]  # noqa: E731
    else:
        first, low, step = date(2023, 1, 1) + timedelta(rng.randrange(365)), rng.randint(5, 25), rng.choice((1, 2, 7))
        family, ask = wording(rng, "dates_units", _DATE)
        fixed, numbers = {"start": _day(first)}, [low + step * at for at in range(4)]
        say = lambda n: _day(first + timedelta(n))  # noqa: E731
    return Twins(
        family=family,
        subsets=("dates_units", "dates_units"),
        grade=grade,
        prompts=(user(ask(n=numbers[0], **fixed)), user(ask(n=numbers[3], **fixed))),
        responses=tuple(answer(rng, say(number)) for number in numbers),
        helpful=_near(numbers[0], numbers[3], numbers),
    )


def _near(one: int, other: int, values: list[int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Rate each value by its distance from the truth under each prompt, in units of the distance of the truths."""
    span = abs(other - one)
    return tuple(nearness(value, one, span) for value in values), tuple(nearness(v, other, span) for v in values)


def _day(when: date) -> str:
    return f"{when.day} {calendar.month_name[when.month]}"
