"""Plant defects of many kinds in sound preference data, and say which rows have which."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rewardlab.groups import Comparison, Message, PreferenceGroup

Change = Callable[[PreferenceGroup], PreferenceGroup]


def _answers(*texts: str) -> Change:
    return lambda group: replace(group, responses=(*texts, *group.responses[len(texts) :]))


def _asked(*turns: tuple[str, str]) -> Change:
    return lambda group: replace(group, prompt=(*group.prompt, *(Message(role, text) for role, text in turns)))


def _with(**known: object) -> Change:
    return lambda group: replace(group, **known)  # type: ignore[arg-type]


def _both_ways(group: PreferenceGroup) -> PreferenceGroup:
    sides = (Comparison(better=0, worse=1, annotator="a"), Comparison(better=1, worse=0, annotator="a"))
    return replace(group, votes=sides)


def _round(group: PreferenceGroup) -> PreferenceGroup:
    circle = tuple(Comparison(better=at, worse=(at + 1) % 3) for at in range(3))
    return replace(group, responses=(*group.responses, f"A third word on {group.id}."), comparisons=circle)


REASONS: dict[str, Change] = {
    "has_2_or_more_responses": lambda group: replace(
        group, responses=group.responses[:1], comparisons=(), scores={"gold": (1.0,)}
    ),
    "no_turn_is_empty": _asked(("assistant", "  "), ("user", "And then?")),
    "no_response_is_empty": _answers(" \n"),
    "roles_alternate": _asked(("user", "Are you there?")),
    "prompt_ends_with_user": _asked(("assistant", "Go on.")),
    "responses_differ": _answers("It is so.", "It is so."),
    "text_is_clean": lambda group: replace(group, responses=(group.responses[0] + "\ufffd", *group.responses[1:])),
    "responses_hold_no_turn_marker": lambda group: replace(
        group, responses=(group.responses[0] + "\n\nHuman: Thanks!", *group.responses[1:])
    ),
    "has_a_label": _with(comparisons=()),
    "scores_are_not_too_high": _with(scores={"gold": (1e9, 0.0)}),
    "no_pair_is_compared_twice": _with(comparisons=(Comparison(better=0, worse=1), Comparison(better=1, worse=0))),
}
"""Defects for which a row is quarantined, by the reason that is to be given."""

FLAGS: dict[str, Change] = {
    "personal": lambda group: replace(group, responses=(f"Ask {group.id}@example.org.", *group.responses[1:])),
    "turncoats": _both_ways,
    "cycles": _round,
}
"""Defects that are reported, by the flag that the row is to have."""

COPY, AGAINST = "is_no_copy_of_an_earlier_row", "contradicts"
BENCHMARK, NEARLY = "is_in_no_benchmark", "is_in_no_benchmark, nearly"
LEAK, ALIKE = "prompt of test", "near-duplicate of test"
KINDS = (*REASONS, *FLAGS, COPY, AGAINST, BENCHMARK, NEARLY, LEAK, ALIKE)
"""Every kind of defect that `plant` knows."""


@dataclass(frozen=True, slots=True)
class Planted:
    """Data with defects, a benchmark, and a test set, some of whose texts are in the data; ids of the rows by kind."""

    groups: list[PreferenceGroup]
    benchmark: list[PreferenceGroup]
    test: list[PreferenceGroup]
    ids: dict[str, set[str]]


def plant(sound: Sequence[PreferenceGroup], *, share: float, seed: int = 0) -> Planted:
    """Return the groups with a defect of each kind in a share of them, no row with two.

    Args:
        sound: pairs of different responses of some length, each with one comparison; a tenth become the benchmark,
            a tenth the test set.
        share: of the remaining groups, for each kind.
        seed: draws which.
    """
    draw = random.Random(seed)
    tenth = len(sound) // 10
    benchmark, test, groups = list(sound[:tenth]), list(sound[tenth : 2 * tenth]), list(sound[2 * tenth :])
    num = max(1, round(share * len(groups)))
    places = draw.sample(range(len(groups)), num * len(KINDS))
    ids: dict[str, set[str]] = {}
    more: list[PreferenceGroup] = []
    for at, kind in enumerate(KINDS):
        chosen = places[at * num : (at + 1) * num]
        for place in chosen:
            group, model = groups[place], draw.choice(test if kind in (LEAK, ALIKE) else benchmark)
            if kind in (COPY, AGAINST):
                more.append(_again(group, kind))
            else:
                groups[place] = _spoilt(group, kind, model)
        ids[kind] = {groups[place].id + ("'" if kind in (COPY, AGAINST) else "") for place in chosen}
    return Planted([*groups, *more], benchmark, test, ids)


def _spoilt(group: PreferenceGroup, kind: str, model: PreferenceGroup) -> PreferenceGroup:
    if kind in (BENCHMARK, LEAK):
        return replace(group, prompt=model.prompt)
    if kind == NEARLY:
        return replace(group, responses=(_one_word_other(model.responses[0]), *group.responses[1:]))
    if kind == ALIKE:
        prompt = (Message("user", _one_word_other(model.prompt[-1].content)),)
        return replace(group, prompt=prompt, responses=model.responses)
    return {**REASONS, **FLAGS}[kind](group)


def _again(group: PreferenceGroup, kind: str) -> PreferenceGroup:
    """Return a later row that is the same, or prefers the other response."""
    (entry,) = group.comparisons
    if kind == AGAINST:
        entry = replace(entry, better=entry.worse, worse=entry.better)
    return replace(group, id=f"{group.id}'", comparisons=(entry,))


def _one_word_other(text: str) -> str:
    words = text.split()
    return " ".join((*words[:-1], "otherwise"))
