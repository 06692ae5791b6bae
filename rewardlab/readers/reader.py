"""What a reader of one format is, and what readers share."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardlab.config import canonical_json
from rewardlab.groups import Message, PreferenceGroup

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reader:
    """One format: its name, what its rows look like in words, whether a row is of it, and a row as a group."""

    name: str
    form: str
    fits: Callable[[Row], bool]
    group: Callable[[Row], PreferenceGroup]


def content_id(prompt: Sequence[Message], responses: Sequence[str]) -> str:
    """Return the id of a row that brings none: it depends on what is asked and answered, not on the place.

    Example:
        >>> content_id((Message("user", "Hi"),), ("Hello", "Go away"))
        '7b773245eeafa588'
    """
    text = canonical_json([[[turn.role, turn.content] for turn in prompt], list(responses)])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def row_id(row: Row, prompt: Sequence[Message], responses: Sequence[str]) -> str:
    """Return the row's own id as text, or the hash of its contents."""
    given = row.get("id")
    return content_id(prompt, responses) if given is None or given == "" else str(given)


def labels(row: Row, used: frozenset[str]) -> dict[str, Any]:
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
