"""Subsets about numbers: arithmetic, units and dates. The verifier measures how far an answer is from the truth."""

import calendar
import random
from datetime import date, timedelta

from synthetic.twins import EITHER, Twins, answer, nearness, user, wording

_ARITHMETIC = {
    1: (
        "Name a number that is {how} than fifty.",
        "Give me any number {how} than fifty.",
        "I need a number, and it has to be {how} than fifty.",
        "Which number comes to mind that is {how} than fifty?",
    ),
    2: (
        "What is {a} plus {b}?",
        "Add {b} to {a}.",
        "Find the sum of {a} and {b}.",
        "I have {a} coins and get {b} more. How many do I have?",
    ),
    3: (
        "What is {a} times {b}?",
        "Multiply {a} by {b}.",
        "There are {a} boxes with {b} nails in each. How many nails are there?",
        "Work out the product of {a} and {b}.",
    ),
}
_KINDS = {
    "a day of the weekend": ("Saturday", "Sunday"),
    "a working day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "a month of the European winter": ("December", "January", "February"),
    "a month of the European summer": ("June", "July", "August"),
    "a unit of length": ("the metre", "the kilometre", "the mile", "the inch"),
    "a unit of weight": ("the gram", "the kilogram", "the pound", "the tonne"),
    "a unit of time": ("the second", "the minute", "the hour", "the decade"),
    "a unit of volume": ("the litre", "the gallon", "the pint", "the cubic metre"),
}
_NAME = (
    "Name {kind}.",
    "Give me an example of {kind}.",
    "Which word comes to mind for {kind}?",
    "I am looking for {kind}. Do you know one?",
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
    """Compare with fifty, add or multiply; the prompts differ in one word or number."""
    family, ask = wording(rng, "arithmetic", _ARITHMETIC[grade])
    if grade == 1:
        numbers = [*rng.sample(range(10, 45), 2), *rng.sample(range(55, 100), 2)]
        return Twins(
            family=family,
            prompts=(user(ask(how="smaller")), user(ask(how="greater"))),
            responses=tuple(answer(rng, str(number)) for number in numbers),
            helpful=EITHER,
        )
    if grade == 3:
        fixed, low = rng.randint(12, 29), rng.randint(12, 40)
        operands, step = ((low, fixed), (low + 3, fixed)), fixed
        truths = [a * b for a, b in operands]
    else:
        fixed, low, step = rng.randint(10, 40), rng.randint(10, 40), rng.choice((1, 2, 10))
        operands = ((low, fixed), (low + 3 * step, fixed))
        truths = [a + b for a, b in operands]
    values = [truths[0] + step * at for at in range(4)]
    return Twins(
        family=family,
        prompts=(user(ask(a=operands[0][0], b=fixed)), user(ask(a=operands[1][0], b=fixed))),
        responses=tuple(answer(rng, str(value)) for value in values),
        helpful=nearness(values, truths[0], truths[1]),
    )


def dates_units(rng: random.Random, grade: int) -> Twins:
    """Name a day, a month or a unit, count days of the week, or count days over the end of a month."""
    if grade == 1:
        return _kinds(rng)
    if grade == 2:
        start, low = rng.randrange(7), rng.randint(1, 10)
        family, ask = wording(rng, "dates_units", _WEEKDAY)
        today, numbers = calendar.day_name[start], [low + at for at in range(4)]
        answers = [calendar.day_name[(start + number) % 7] for number in numbers]
    else:
        first, low, step = date(2023, 1, 1) + timedelta(rng.randrange(365)), rng.randint(5, 25), rng.choice((1, 2, 7))
        family, ask = wording(rng, "dates_units", _DATE)
        today, numbers = _day(first), [low + step * at for at in range(4)]
        answers = [_day(first + timedelta(number)) for number in numbers]
    return Twins(
        family=family,
        prompts=(user(ask(n=numbers[0], start=today)), user(ask(n=numbers[3], start=today))),
        responses=tuple(answer(rng, text) for text in answers),
        helpful=nearness(numbers, numbers[0], numbers[3]),
    )


def _kinds(rng: random.Random) -> Twins:
    family, ask = wording(rng, "dates_units", _NAME)
    kinds = rng.sample(tuple(_KINDS), 2)
    return Twins(
        family=family,
        prompts=(user(ask(kind=kinds[0])), user(ask(kind=kinds[1]))),
        responses=tuple(answer(rng, name) for kind in kinds for name in rng.sample(_KINDS[kind], 2)),
        helpful=EITHER,
    )


def _day(when: date) -> str:
    return f"{when.day} {calendar.month_name[when.month]}"
