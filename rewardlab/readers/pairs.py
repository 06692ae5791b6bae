"""Pairs: `{prompt, chosen, rejected}` as strings or as message lists, the prompt given or shared by both."""

from collections.abc import Sequence
from typing import Any

from rewardlab.groups import Comparison, Message, PreferenceGroup, messages
from rewardlab.readers.reader import Reader, Row, labels, number, row_id, text

_SCORES = (("chosen_score", "rejected_score"), ("score_chosen", "score_rejected"))
USED = frozenset({"prompt", "chosen", "rejected", "margin", "strength", *_SCORES[0], *_SCORES[1]})


def fits(row: Row) -> bool:
    """Say whether the row is a pair; without a prompt, both sides must be whole conversations."""
    if not {"chosen", "rejected"} <= row.keys():
        return False
    return "prompt" in row or (isinstance(row["chosen"], list) and isinstance(row["rejected"], list))


def group(row: Row) -> PreferenceGroup:
    """Return the pair as a group of two.

    `strength` is P(chosen is better), in [0, 1]; `margin` is how much better it is. Ratings of the two, under the
    names that UltraFeedback made common, become the scores of aspect `overall`.

    Raises:
        ValueError: a column is missing or does not hold what it should.
    """
    prompt, chosen, rejected = _texts(row)
    return pair(row, prompt, chosen, rejected, used=USED)


def pair(row: Row, prompt: tuple[Message, ...], chosen: str, rejected: str, *, used: frozenset[str]) -> PreferenceGroup:
    """Return a group of two with the row's label, id and columns."""
    responses = (chosen, rejected)
    return PreferenceGroup(
        id=row_id(row, prompt, responses),
        prompt=prompt,
        responses=responses,
        comparisons=(_comparison(row),),
        scores=_scores(row),
        **labels(row, used),
    )


def _comparison(row: Row) -> Comparison:
    strength, margin = number(row, "strength"), number(row, "margin")
    strength = 1.0 if strength is None else strength
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength is P(chosen is better), in [0, 1], got {strength}")
    if strength >= 0.5:
        return Comparison(better=0, worse=1, strength=strength, margin=margin)
    return Comparison(better=1, worse=0, strength=1.0 - strength, margin=None if margin is None else -margin)


def _scores(row: Row) -> dict[str, tuple[float, ...]]:
    for names in _SCORES:
        chosen, rejected = (number(row, name) for name in names)
        if chosen is not None and rejected is not None:
            return {"overall": (chosen, rejected)}
    return {}


def _texts(row: Row) -> tuple[tuple[Message, ...], str, str]:
    if isinstance(row.get("chosen"), list) or isinstance(row.get("rejected"), list):
        return _from_conversations(row)
    prompt = row.get("prompt")
    if prompt is None:
        raise ValueError("prompt is missing")
    return messages(prompt), text(row, "chosen"), text(row, "rejected")


def _from_conversations(row: Row) -> tuple[tuple[Message, ...], str, str]:
    chosen, rejected = _turns(row, "chosen"), _turns(row, "rejected")
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    opening, given = chosen[:shared], row.get("prompt")
    prompt = () if given is None or given == "" else messages(given)
    if opening[: len(prompt)] != prompt and not _same_question(prompt, opening):
        opening = prompt + opening
    if not opening:
        raise ValueError("prompt is missing, and chosen and rejected share no turn that could be it")
    return opening, _answer(chosen[shared:], "chosen"), _answer(rejected[shared:], "rejected")


def _turns(row: Row, key: str) -> tuple[Message, ...]:
    value = row.get(key)
    if not isinstance(value, list):
        raise ValueError(f"chosen and rejected are both message lists or both strings, {key} is {value!r:.80}")
    return messages(value)


def _same_question(prompt: Sequence[Message], opening: Sequence[Message]) -> bool:
    """Say whether a prompt column repeats a question of the conversation, as UltraFeedback's does."""
    return len(prompt) == 1 and any(turn == prompt[0] for turn in opening)


def _answer(turns: Sequence[Message], key: str) -> str:
    if len(turns) != 1 or turns[0].role != "assistant":
        found: Any = [turn.role for turn in turns]
        raise ValueError(f"{key} ends in one assistant turn after what both share, got turns {found}")
    return turns[0].content


READER = Reader("pairs", "{prompt, chosen, rejected}: strings, or message lists that may hold the prompt", fits, group)
