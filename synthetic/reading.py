"""Subsets about what a text says: passages, what it leaves open, earlier turns, instructions that are quoted."""

import random

from rewardlab.groups import Message
from synthetic.twins import EXACT_OR_VAGUE, Prompt, Twins, answer, user, wording
from synthetic.words import DETAILS, NAMES, PLACES, THINGS, VERBS
from synthetic.writing import sentences

_STATES = (
    ("open", "closed"),
    ("full", "empty"),
    ("clean", "dirty"),
    ("warm", "cold"),
    ("dry", "wet"),
    ("safe", "unsafe"),
)
_WHICH_STATE = (
    'Read this: "{body}" Is the {noun} {one} or {other}?',
    "{body} Can you tell me whether the {noun} is {one} or {other}?",
    "Answer from the text alone. {body} Would you say that the {noun} is {one} or {other}?",
    "Here is a note: {body} According to the note, is the {noun} {one} or {other}?",
)
_WHO_WHAT = (
    'Read this: "{body}" What did {who} {verb}?',
    "{body} Which object did {who} {verb}?",
    "Answer from the text alone. {body} What was it that {who} {did}?",
    "Here is a note: {body} According to the note, what did {who} {verb}?",
)
_TWO_STEPS = (
    'Read this: "{body}" What was handled by the person who was {place}?',
    "{body} Which object belongs to the person who stayed {place}?",
    "Answer from the text alone. {body} Someone was {place}: which object did that person deal with?",
    "Here is a note: {body} According to the note, what did the one who was {place} deal with?",
)
_PAST = {"bought": "buy", "painted": "paint", "repaired": "repair", "carried": "carry", "sold": "sell"}
_PAST |= {"found": "find", "borrowed": "borrow", "cleaned": "clean"}
_UNSURE = ("Probably", "I think", "Most likely", "My guess:")
_LEFT_OPEN = {
    1: (
        "{other} {did} the {thing}. What {who} {did} {ending}.",
        "It is well known that {other} {did} the {thing}. As for {who}, what was {did} {ending}.",
    ),
    2: (
        "{other} {did} the {thing} {detail}. {who} was there too and {ending}.",
        "{detail}, {other} {did} the {thing}, while {who} {ending}.",
    ),
    3: (
        "{other} said that the {thing} was nice. Later {who} {ending}.",
        "{other} pointed at the {thing}. Soon after, {who} {ending}.",
    ),
}
_SAID = {
    1: ("was written down: it was the same", "was never written down by anyone"),
    2: ("{did} the same thing", "looked at the same thing"),
    3: ("decided to {do} it and did so", "decided to think it over and left"),
}
_OPEN_QUESTION = (_WHO_WHAT[0], "{body} Can you say what {who} {did}?", *_WHO_WHAT[2:])
_RULES = (
    "Please keep your answers {how} today.",
    "I like answers that are {how}.",
    "For the rest of this talk I want {how} answers.",
    "My rule for today: {how} answers only.",
)
_RECALL = {
    1: (
        "Describe the {body}.",
        "What can you tell me about the {body}?",
        "I would like to read about the {body}.",
        "Write about the {body}.",
    ),
    2: (
        "What am I going to bring on {which}?",
        "Remind me: what did I plan to bring on {which}?",
        "Which object did I want to bring on {which}?",
        "And on {which}, what was I going to bring?",
    ),
    3: (
        "So what should I {verb} in the end?",
        "To sum up, which of them will I {verb}?",
        "Given what I told you, what is it that I {verb}?",
        "Which one do I {verb}, then?",
    ),
}


def passage(rng: random.Random, grade: int) -> Twins:
    """Ask in which state something is, or what a person did of several people that a passage tells of."""
    if grade == 1:
        return _state(rng)
    num = grade
    people, things = rng.sample(NAMES, num), rng.sample(THINGS, num)
    places, did = rng.sample(PLACES, num), rng.choice(VERBS)
    facts = [f"{who} {did} the {' '.join(thing)}" for who, thing in zip(people, things, strict=True)]
    if grade == 3:
        stays = [f"{who} was {place}." for who, place in zip(people, places, strict=True)]
        lines = [*(f"{fact}." for fact in facts), *stays]
    else:
        lines = [f"{fact} {rng.choice(DETAILS)}." for fact in facts]
    rng.shuffle(lines)
    body = " ".join(lines)
    family, ask = wording(rng, "passage", _TWO_STEPS if grade == 3 else _WHO_WHAT)
    asked = [ask(body=body, who=people[at], place=places[at], did=did, verb=_PAST[did]) for at in (0, 1)]
    return Twins(
        family=family,
        prompts=(user(asked[0]), user(asked[1])),
        responses=_named(rng, things[0], things[1]),
        helpful=EXACT_OR_VAGUE,
    )


def _state(rng: random.Random) -> Twins:
    family, ask = wording(rng, "passage", _WHICH_STATE)
    states, (adjective, noun), place = rng.choice(_STATES), rng.choice(THINGS), rng.choice(PLACES)
    first, second = rng.sample(states, 2)
    seen = f"{rng.choice(NAMES)} saw that the {adjective} {noun} {place} is"
    bodies = [f"{seen} {state}." for state in states]
    return Twins(
        family=family,
        prompts=(
            user(ask(body=bodies[0], noun=noun, one=first, other=second)),
            user(ask(body=bodies[1], noun=noun, one=first, other=second)),
        ),
        responses=(
            answer(rng, states[0]),
            f"{rng.choice(_UNSURE)} it is {states[0]}, but it is not quite certain.",
            f"{rng.choice(_UNSURE)} it is {states[1]}, but it is not quite certain.",
            answer(rng, states[1]),
        ),
        helpful=EXACT_OR_VAGUE,
    )


def unknown(rng: random.Random, grade: int) -> Twins:
    """Ask what a text tells, or what it leaves open; whoever invents an answer to the second is wrong."""
    who, other = rng.sample(NAMES, 2)
    adjective, noun = rng.choice(THINGS)
    thing, did = f"{adjective} {noun}", rng.choice(VERBS)
    note = rng.choice(_LEFT_OPEN[grade])
    detail = rng.choice(DETAILS)
    family, ask = wording(rng, f"unknown {note}", _OPEN_QUESTION)
    prompts = []
    for said in _SAID[grade]:
        ending = said.format(did=did, do=_PAST[did])
        body = note.format(who=who, other=other, did=did, thing=thing, detail=detail, ending=ending)
        prompts.append(user(ask(body=body[0].upper() + body[1:], who=who, did=did, verb=_PAST[did])))
    admit = rng.choice(("The text does not say", "That cannot be known from the text", "There is no way to tell"))
    responses = (
        answer(rng, f"the {thing}"),
        f"{rng.choice(_UNSURE)} the {thing}, but it is not quite certain.",
        f"{admit} for sure. If I had to guess, I would say the {thing}.",
        f"{admit}{rng.choice(('.', ', I am afraid.', '. You would have to ask ' + who + '.'))}",
    )
    return Twins(
        family=family,
        prompts=(prompts[0], prompts[1]),
        responses=responses,
        helpful=EXACT_OR_VAGUE,
    )


def multi_turn(rng: random.Random, grade: int) -> Twins:
    """Ask for something that depends on an earlier turn."""
    one, other = rng.sample(THINGS, 2)
    named = [f"the {' '.join(thing)}" for thing in (one, other)]
    if grade == 1:
        family, ask = wording(rng, "multi_turn", _RECALL[1])
        rule, question = rng.choice(_RULES), ask(body=f"{one[0]} {one[1]} {rng.choice(PLACES)}")
        prompts = tuple(_talk(rng, (rule.format(how=how), question)) for how in ("short", "long"))
        return Twins(
            family=family,
            prompts=(prompts[0], prompts[1]),
            responses=tuple(sentences(rng, one[1], count) for count in (1, 2, 4, 5)),
            helpful=EXACT_OR_VAGUE,
        )
    if grade == 2:
        days = rng.sample(("Monday", "Tuesday", "Thursday", "Friday", "Sunday"), 2)
        family, ask = wording(rng, "multi_turn", _RECALL[2])
        plans = [f"On {day} I bring {name}." for day, name in zip(days, named, strict=True)]
        rng.shuffle(plans)
        prompts = tuple(_talk(rng, (*plans, ask(which=day))) for day in days)
    else:
        verb = rng.choice(tuple(_PAST.values()))
        family, ask = wording(rng, "multi_turn", _RECALL[3])
        plans = [f"I could {verb} {name}." for name in named]
        rng.shuffle(plans)
        ends = [f"No, wait: not {named[1 - at]}, but {named[at]}. " for at in (0, 1)]
        prompts = tuple(_talk(rng, (*plans, end + ask(verb=verb))) for end in ends)
    return Twins(
        family=family,
        prompts=(prompts[0], prompts[1]),
        responses=_named(rng, one, other),
        helpful=EXACT_OR_VAGUE,
    )


def _named(rng: random.Random, one: tuple[str, str], other: tuple[str, str]) -> tuple[str, ...]:
    """Return responses that name one thing or the other, exactly or vaguely."""
    names = (f"the {' '.join(one)}", _a(one[1]), _a(other[1]), f"the {' '.join(other)}")
    return tuple(answer(rng, name) for name in names)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _talk(rng: random.Random, turns: tuple[str, ...]) -> Prompt:
    """Return the user's turns with short replies of the assistant between them."""
    replies = [rng.choice(("All right.", "Noted.", "Okay, I will keep that in mind.")) for _ in turns[1:]]
    messages = [Message("user", turns[0])]
    for reply, turn in zip(replies, turns[1:], strict=True):
        messages += [Message("assistant", reply), Message("user", turn)]
    return tuple(messages)
