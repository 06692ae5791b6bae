"""ShareGPT pairs: `{conversations | messages, chosen, rejected}`, turns of `{from, value}` (LLaMA-Factory) or roles."""

from rewardlab.groups import Message, PreferenceGroup
from rewardlab.readers.pairs import USED, pair
from rewardlab.readers.reader import Reader, Row, conversation, reply

_CONVERSATIONS = ("conversations", "messages")
_USED = USED | {"conversations", "messages", "system"}


def fits(row: Row) -> bool:
    """Say whether the row has a conversation beside two answers that are single turns."""
    single = all(isinstance(row.get(side), (str, dict)) for side in ("chosen", "rejected"))
    return single and "prompt" not in row and any(isinstance(row.get(name), list) for name in _CONVERSATIONS)


def group(row: Row) -> PreferenceGroup:
    """Return the pair; a `system` column goes before the conversation.

    Raises:
        ValueError: a column is missing, or a turn is of no known form or role.
    """
    given = next((row[name] for name in _CONVERSATIONS if row.get(name)), None)
    if given is None:
        raise ValueError("conversations is missing")
    system = (Message("system", row["system"]),) if row.get("system") else ()
    prompt = system + conversation(given)
    return pair(row, prompt, *(reply(row.get(side), side) for side in ("chosen", "rejected")), used=_USED)


READER = Reader("sharegpt", "{conversations | messages, chosen, rejected}: turns of {from, value}", fits, group)
