"""Fields of request bodies: read each with a reason where it is wrong, and describe each as a JSON schema."""

from collections.abc import Mapping, Sequence
from typing import Any

from rewardlab.groups import Message, messages
from serving.limits import Limits, check_count, check_text, check_texts
from serving.loaded_model import Group, Item, Text

STRING: Mapping[str, object] = {"type": "string"}
"""JSON schema of what `string` reads; `STRINGS` and `TEXTS` likewise."""
_STRING_LIST = {"type": "array", "items": STRING, "minItems": 1}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
STRINGS: Mapping[str, object] = {"anyOf": [STRING, _STRING_LIST]}
TEXTS: Mapping[str, object] = {"anyOf": [STRING, _STRING_LIST, _IDS, {"type": "array", "items": _IDS, "minItems": 1}]}
BOOLEAN: Mapping[str, object] = {"type": "boolean"}


def object_of(required: Sequence[str], **fields: Mapping[str, object]) -> Mapping[str, object]:
    """Return the JSON schema of a body with fields, some of which are required.

    Example:
        >>> object_of(["query"], query=STRING, top_n={"type": "integer"})["required"]
        ['query']
    """
    return {"type": "object", "required": list(required), "properties": fields}


def string(values: Mapping[str, object], key: str, limits: Limits) -> str:
    """Return a string.

    Raises:
        ValueError: the key is missing, or what it holds is no string, too long or not valid Unicode.
    """
    value = values.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key}: a string, got {value!r:.80}")
    check_text(key, value, limits)
    return value


def strings(values: Mapping[str, object], key: str, limits: Limits) -> list[str]:
    """Return a list of at least one string; one alone is a list of itself.

    Raises:
        ValueError: as `string`, for the element it names.
    """
    value = values.get(key)
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{key}: a string or a list of at least one string, got {value!r:.80}")
    check_count(len(entries), limits)
    for index, entry in enumerate(entries):
        if not isinstance(entry, str):
            raise ValueError(f"{key}[{index}]: a string, got {entry!r:.80}")
        check_text(f"{key}[{index}]", entry, limits)
    return entries


def texts(values: Mapping[str, object], key: str, limits: Limits) -> list[Item]:
    """Return rendered conversations: a string, token ids, or a list of either.

    Raises:
        ValueError: as `string`, for the element it names.
    """
    value = values.get(key)
    entries = value if isinstance(value, list) and not _is_ids(value) else [value]
    if not entries:
        raise ValueError(f"{key}: at least one text, got an empty list")
    check_count(len(entries), limits)
    items: list[Item] = []
    for index, entry in enumerate(entries):
        if _is_ids(entry) and len(entry) <= limits.max_item_bytes:
            items.append(Text(entry))
        else:
            items.append(Text(string({f"{key}[{index}]": entry}, f"{key}[{index}]", limits)))
    return items


def prompt_messages(prompt: Any, key: str) -> tuple[Message, ...]:
    """Return a prompt as messages.

    Raises:
        ValueError: it is neither a string nor messages; the reason names the key.
    """
    try:
        return messages(prompt)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def conversation(turns: Any, key: str, limits: Limits) -> Group:
    """Return messages that end with the assistant's as a prompt and its one response.

    Raises:
        ValueError: they are no messages, or end otherwise.
    """
    read = prompt_messages(turns, key)
    if len(read) < 2 or read[-1].role != "assistant":
        raise ValueError(f"{key}: messages that end with the assistant's, which is what is scored, got {turns!r:.80}")
    check_texts(read[:-1], [read[-1].content], limits)
    return Group(read[:-1], [read[-1].content])


def pairs(prompts: Sequence[str], responses: Sequence[str]) -> list[Item]:
    """Return a user's turn and its response for each pair; neighbours of one prompt will share it."""
    return [Group(messages(prompt), [response]) for prompt, response in zip(prompts, responses, strict=True)]


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)
