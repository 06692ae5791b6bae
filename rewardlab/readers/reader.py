"""What a reader of one format is, and what readers share."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypedDict

from rewardlab.config import canonical_json
from rewardlab.groups import Comparison, Message, PreferenceGroup, messages
from rewardlab.text import key64

Row = Mapping[str, Any]
_MOST_COMPARED = 256
_SPEAKERS = {"human": "user", "gpt": "assistant", "observation": "tool", "function_call": "assistant"}


@dataclass(frozen=True, slots=True)
class Reader:
    """One format: its name, what its rows look like in words, whether a row is of it, and a row as a group.

    `joins`: a row is one rated response, and neighbouring rows of one prompt make one group.
    """

    name: str
    form: str
    fits: Callable[[Row], bool]
    group: Callable[[Row], PreferenceGroup]
    joins: bool = False


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read: where it stood, why not, and what it was."""

    line: int
    reason: str
    row: Any


class Labels(TypedDict):
    """What a row says of its group beside the texts, as a `PreferenceGroup` takes it."""

    subset: str
    source: str
    meta: dict[str, str]


def content_id(prompt: Sequence[Message], responses: Sequence[str]) -> str:
    """Return the id of a row that brings none: it depends on what is asked and answered, not on the place.

    Example:
        >>> content_id((Message("user", "Hi"),), ("Hello", "Go away"))
        '7b773245eeafa588'
    """
    text = canonical_json([[[turn.role, turn.content] for turn in prompt], list(responses)])
    return f"{key64(text):016x}"


def row_id(row: Row, prompt: Sequence[Message], responses: Sequence[str]) -> str:
    """Return the row's own id as text, or the hash of its contents."""
    given = row.get("id")
    return content_id(prompt, responses) if given is None or given == "" else str(given)


def labelled(
    row: Row, prompt: tuple[Message, ...], responses: Sequence[str], used: frozenset[str], **known: Any
) -> PreferenceGroup:
    """Return the group of a row with the row's id and labels; a field of the group that is `known` replaces a label."""
    fields: dict[str, Any] = {**labels(row, used), **known}
    return PreferenceGroup(id=row_id(row, prompt, responses), prompt=prompt, responses=tuple(responses), **fields)


def labels(row: Row, used: frozenset[str]) -> Labels:
    """Return subset, source and meta of a row; `group` is a subset, what else is a single value is meta."""
    subset = row.get("subset") or row.get("group")
    rest = {name: value for name, value in row.items() if name not in used | _LABELS}
    plain = {name: str(value) for name, value in rest.items() if isinstance(value, (str, int, float))}
    return {
        "subset": "" if subset is None else str(subset),
        "source": "" if row.get("source") is None else str(row["source"]),
        "meta": plain,
    }


_LABELS = frozenset({"id", "subset", "group", "source"})


def text(row: Row, key: str) -> str:
    """Return a text of the row.

    Raises:
        ValueError: it is missing or is no string.
    """
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is a string, got {value!r:.80}" if key in row else f"{key} is missing")
    return value


def texts(row: Row, key: str) -> tuple[str, ...]:
    """Return a list of texts of the row.

    Raises:
        ValueError: it is missing or is something else.
    """
    value = row.get(key)
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"{key} is a list of strings, got {value!r:.80}" if key in row else f"{key} is missing")
    return tuple(value)


def conversation(value: Any) -> tuple[Message, ...]:
    """Return messages written as `{role, content}` or, as ShareGPT does, as `{from, value}`.

    A string is one user turn. What a message leaves empty, such as `tool_calls: null`, counts as left out.

    Raises:
        ValueError: a message is of neither form, or its role is unknown.

    Example:
        >>> conversation([{"from": "human", "value": "Hi"}])
        (Message(role='user', content='Hi'),)
    """
    if not isinstance(value, list):
        return messages(value)
    return messages([_message(turn) if isinstance(turn, Mapping) else turn for turn in value])


def _message(turn: Mapping[str, object]) -> Mapping[str, object]:
    filled = {name: part for name, part in turn.items() if part is not None}
    if filled.keys() != {"from", "value"}:
        return filled
    return {"role": _SPEAKERS.get(str(filled["from"]), filled["from"]), "content": filled["value"]}


def reply(value: Any, key: str) -> str:
    """Return what the assistant said: a string, one message, or a list of one.

    Raises:
        ValueError: it is something else, or somebody else said it.
    """
    if isinstance(value, str):
        return value
    turns = conversation(value if isinstance(value, list) else [value])
    if len(turns) != 1 or turns[0].role != "assistant":
        raise ValueError(f"{key} is one assistant turn, got turns {[turn.role for turn in turns]}")
    return turns[0].content


def by_rating(ratings: Sequence[float]) -> tuple[Comparison, ...]:
    """Return a comparison of each pair: the higher rating is better, equal ones tie.

    Raises:
        ValueError: there are so many responses that their pairs would fill the memory.

    Example:
        >>> [(one.better, one.worse, one.strength) for one in by_rating([1, 2])]
        [(1, 0, 1.0)]
    """
    check_pairs(len(ratings))
    pairs = combinations(range(len(ratings)), 2)
    return tuple(
        Comparison(better=i, worse=j, strength=0.5 if ratings[i] == ratings[j] else 1.0)
        for i, j in (pair if ratings[pair[0]] >= ratings[pair[1]] else pair[::-1] for pair in pairs)
    )


def check_pairs(num_responses: int) -> None:
    """Refuse a group that would have to be compared pair by pair and is too large for it.

    Raises:
        ValueError: with the number and the limit.
    """
    if num_responses > _MOST_COMPARED:
        raise ValueError(f"at most {_MOST_COMPARED} responses can be compared pair by pair, got {num_responses}")


def number(row: Row, key: str) -> float | None:
    """Return a number of the row, also when a table wrote it as text; None if there is none.

    Raises:
        ValueError: it is not a finite number.
    """
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        raise ValueError(f"{key} is a finite number, got {value!r:.80}")
    return result
