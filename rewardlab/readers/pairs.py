"""Pairs: `{prompt, chosen, rejected}` as strings or as message lists, the prompt given or shared by both (TRL)."""

from collections.abc import Sequence
from os.path import commonprefix
from typing import Any

from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.readers.reader import Reader, Row, conversation, labelled, number, text
from rewardlab.readers.votes import comparison_of

_SCORES = (
    ("chosen_score", "rejected_score"),
    ("score_chosen", "score_rejected"),
    ("chosen-rating", "rejected-rating"),
)
USED = frozenset({"prompt", "chosen", "rejected", "margin", "strength", *(name for pair in _SCORES for name in pair)})
_USED = USED | {"system"}


def fits(row: Row) -> bool:
    """Say whether the row is a pair; without a prompt, both sides hold it, and no other column could be it."""
    if not {"chosen", "rejected"} <= row.keys():
        return False
    sides = (row["chosen"], row["rejected"])
    if "prompt" in row or all(isinstance(side, list) for side in sides):
        return True
    others = [value for name, value in row.items() if name not in USED]
    return all(isinstance(side, str) and not side.lstrip().startswith("Human:") for side in sides) and not any(
        isinstance(value, (list, dict)) or (isinstance(value, str) and " " in value.strip()) for value in others
    )


def group(row: Row) -> PreferenceGroup:
    """Return the pair as a group of two.

    Two strings without a prompt are cut at the last blank up to which they agree; the blank stays with the responses.
    A `system` column goes before the prompt. `strength` is P(chosen is better), in [0, 1]; `margin` is how much better
    it is. Ratings of the two, under the names that UltraFeedback made common, become the scores of aspect `overall`.

    Raises:
        ValueError: a column is missing or does not hold what it should.
    """
    prompt, chosen, rejected = _texts(row)
    if row.get("system") and prompt[0].role != "system":
        prompt = (Message("system", text(row, "system")), *prompt)
    return pair(row, prompt, chosen, rejected, used=_USED)


def pair(row: Row, prompt: tuple[Message, ...], chosen: str, rejected: str, *, used: frozenset[str]) -> PreferenceGroup:
    """Return a group of two with the row's label, id and columns."""
    return labelled(row, prompt, (chosen, rejected), used, comparisons=(_comparison(row),), scores=_scores(row))


def _comparison(row: Row) -> Comparison:
    strength, margin = number(row, "strength"), number(row, "margin")
    strength = 1.0 if strength is None else strength
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength is P(chosen is better), in [0, 1], got {strength}")
    return comparison_of(0, 1, strength, margin, None)


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
        return _from_texts(text(row, "chosen"), text(row, "rejected"))
    return conversation(prompt), text(row, "chosen"), text(row, "rejected")


def _from_texts(chosen: str, rejected: str) -> tuple[tuple[Message, ...], str, str]:
    common = len(commonprefix([chosen, rejected]))  # noqa: RUF071 (characters are wanted)
    cut = next((at for at in range(common, 0, -1) if chosen[at : at + 1].isspace()), 0)
    if not chosen[:cut].strip():
        raise ValueError("prompt is missing, and chosen and rejected share no beginning that could be it")
    return conversation(chosen[:cut]), chosen[cut:], rejected[cut:]


def _from_conversations(row: Row) -> tuple[tuple[Message, ...], str, str]:
    chosen, rejected = _turns(row, "chosen"), _turns(row, "rejected")
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    opening, given = chosen[:shared], row.get("prompt")
    prompt = () if given is None or given == "" else conversation(given)
    if opening[: len(prompt)] != prompt and not _same_question(prompt, opening):
        opening = prompt + opening
    if not opening:
        raise ValueError("prompt is missing, and chosen and rejected share no turn that could be it")
    return opening, _answer(chosen[shared:], "chosen"), _answer(rejected[shared:], "rejected")


def _turns(row: Row, key: str) -> tuple[Message, ...]:
    value = row.get(key)
    if not isinstance(value, list):
        raise ValueError(f"chosen and rejected are both message lists or both strings, {key} is {value!r:.80}")
    return conversation(value)


def _same_question(prompt: Sequence[Message], opening: Sequence[Message]) -> bool:
    """Say whether a prompt column repeats a question of the conversation, as UltraFeedback's does."""
    return len(prompt) == 1 and any(turn == prompt[0] for turn in opening)


def _answer(turns: Sequence[Message], key: str) -> str:
    if len(turns) != 1 or turns[0].role != "assistant":
        found: Any = [turn.role for turn in turns]
        raise ValueError(f"{key} ends in one assistant turn after what both share, got turns {found}")
    return turns[0].content


READER = Reader("pairs", "{prompt, chosen, rejected}: strings, or message lists that may hold the prompt", fits, group)
