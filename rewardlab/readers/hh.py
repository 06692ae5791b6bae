"""Helpful-Harmless text: turns are marked "Human:" and "Assistant:" inside one string (Bai et al. 2022)."""

import re

from rewardlab.groups import Message, PreferenceGroup
from rewardlab.readers.pairs import USED, pair
from rewardlab.readers.reader import Reader, Row, labelled, text, texts

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_ANSWER = "\n\nAssistant:"


def fits(row: Row) -> bool:
    """Say whether the row is HH: a prompt that ends where the assistant speaks, or two whole transcripts."""
    prompt = row.get("prompt")
    if prompt is not None:
        return isinstance(prompt, str) and prompt.lstrip().startswith("Human:") and prompt.rstrip().endswith(_ANSWER)
    sides = (row.get("chosen"), row.get("rejected"))
    return all(isinstance(side, str) and side.lstrip().startswith("Human:") and _ANSWER in side for side in sides)


def group(row: Row) -> PreferenceGroup:
    """Return an HH row as messages: a pair, or a prompt with `responses` that are to be scored.

    Two transcripts are cut at the last "Assistant:" up to which they agree. Blanks around turns and responses are
    the format's, not the speaker's, and are removed; neighbouring turns of one speaker become one.

    Raises:
        ValueError: a text is not in this format, or the transcripts share no turn.
    """
    if "responses" in row:  # they are to be scored
        responses = [response.strip() for response in texts(row, "responses")]
        return labelled(row, conversation(text(row, "prompt")), responses, frozenset({"prompt", "responses"}))
    if row.get("prompt") is not None:
        turns = conversation(text(row, "prompt"))
        return pair(row, turns, text(row, "chosen").strip(), text(row, "rejected").strip(), used=USED)
    chosen, rejected = text(row, "chosen"), text(row, "rejected")
    cut = _fork(chosen, rejected)
    return pair(row, conversation(chosen[:cut]), chosen[cut:].strip(), rejected[cut:].strip(), used=USED)


def conversation(prompt: str) -> tuple[Message, ...]:
    r"""Return the messages of an HH prompt.

    Raises:
        ValueError: it does not begin with "Human:" or does not end with "Assistant:".

    Example:
        >>> conversation("\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Bye\n\nAssistant:")[1]
        Message(role='assistant', content='Yes?')
    """
    parts = _TURN.split(prompt.strip())
    if parts[0] or len(parts) < 5 or parts[1] != "Human":
        raise ValueError(f"an HH prompt begins with 'Human:' and ends with '\\n\\nAssistant:', got {prompt!r:.60}")
    if parts[-2] != "Assistant" or parts[-1].strip():
        raise ValueError(f"an HH prompt ends with '\\n\\nAssistant:', got ...{prompt[-60:]!r}")
    turns: list[Message] = []
    for speaker, said in zip(parts[1:-2:2], parts[2:-2:2], strict=True):
        role, content = _ROLES[speaker], said.strip()
        if not content:
            continue
        if turns and turns[-1].role == role:
            content = f"{turns.pop().content}\n\n{content}"
        turns.append(Message(role, content))
    return tuple(turns)


def _fork(chosen: str, rejected: str) -> int:
    """Return where the answers begin: behind the last "Assistant:" of the common beginning."""
    differ = next((at for at, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    common = chosen[: min(len(chosen), len(rejected)) if differ is None else differ]
    found = common.rfind(_ANSWER)
    if found < 0:
        raise ValueError("chosen and rejected share no turn up to an 'Assistant:'")
    return found + len(_ANSWER)


READER = Reader("hh", '{chosen, rejected} or {prompt, ...} of "\\n\\nHuman: ...\\n\\nAssistant: ..." text', fits, group)
