"""Instructions: `{instruction, input?, system?, history?, chosen, rejected}` (LLaMA-Factory's alpaca, axolotl)."""

from rewardlab.groups import Message, PreferenceGroup
from rewardlab.readers.pairs import USED, pair
from rewardlab.readers.reader import Reader, Row, text

_ASKED = ("instruction", "question", "input")
_USED = USED | {*_ASKED, "system", "history"}


def fits(row: Row) -> bool:
    """Say whether the row has an instruction in place of a prompt, and two answers."""
    sides = all(isinstance(row.get(side), str) for side in ("chosen", "rejected"))
    return sides and "prompt" not in row and any(isinstance(row.get(name), str) for name in _ASKED)


def group(row: Row) -> PreferenceGroup:
    """Return the pair: system, history, then instruction and input in one turn, a line each.

    Raises:
        ValueError: a column is missing or does not hold what it should.
    """
    asked = "\n".join(text(row, name) for name in _ASKED if row.get(name))
    if not asked:
        raise ValueError("instruction is missing")
    system = (Message("system", text(row, "system")),) if row.get("system") else ()
    prompt = (*system, *_history(row), Message("user", asked))
    return pair(row, prompt, text(row, "chosen"), text(row, "rejected"), used=_USED)


def _history(row: Row) -> tuple[Message, ...]:
    rounds = row.get("history") or []
    if not isinstance(rounds, list) or not all(isinstance(each, list) and len(each) == 2 for each in rounds):
        raise ValueError(f"history is a list of [question, answer], got {rounds!r:.80}")
    return tuple(Message(role, said) for each in rounds for role, said in zip(("user", "assistant"), each, strict=True))


READER = Reader(
    "instructions",
    "{instruction | question | input, system?, history?, chosen, rejected}: alpaca, axolotl",
    fits,
    group,
)
