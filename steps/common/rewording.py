"""Edits that keep what an answer says: the reward should not move. Audits make them, and training may learn it."""

import re
from collections.abc import Callable, Mapping
from random import Random

_ALIKE = str.maketrans("aeopcxAEOPCXT", "аеорсхАЕОРСХТ")
_MARKUP = re.compile(r"\*\*|__|`+|^\s{0,3}(?:#+|[-*+]|\d+\.)\s+", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def lower_case(text: str) -> str:
    """Write everything in small letters.

    Example:
        >>> lower_case("It is Four.")
        'it is four.'
    """
    return text.lower()


def typos(text: str) -> str:
    """Swap two inner letters in a tenth of the longer words, the same ones each time.

    Example:
        >>> typos("The answer is probably four.")
        'The ansewr is probably four.'
    """
    words = re.split(r"(\s+)", text)
    long = [at for at, word in enumerate(words) if len(word) > 4]
    draw = Random(text)  # noqa: S311 (no secret)
    for at in draw.sample(long, -(-len(long) // 10)):
        place = draw.randrange(1, len(words[at]) - 2)
        word = words[at]
        words[at] = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return "".join(words)


def whitespace(text: str) -> str:
    r"""Double the blanks between sentences and end with an empty line.

    Example:
        >>> whitespace("Yes. It is.")
        'Yes.  It is.\n\n'
    """
    return _SENTENCE.sub(lambda gap: gap[0] * 2, text) + "\n\n"


def look_alikes(text: str) -> str:
    """Put Cyrillic letters that look the same in the place of every third word's Latin ones.

    Example:
        >>> look_alikes("an apple") == "an apple"
        False
    """
    words = re.split(r"(\s+)", text)
    return "".join(word.translate(_ALIKE) if at % 6 == 0 else word for at, word in enumerate(words))


def markdown_off(text: str) -> str:
    r"""Take headings, bold type, list marks and code marks away; an answer without them stays as it is.

    Example:
        >>> markdown_off("## Plan\n- **First**: `go`")
        'Plan\nFirst: go'
    """
    return _MARKUP.sub("", text)


def bullets(text: str) -> str:
    r"""Make each sentence an item of a list.

    Example:
        >>> bullets("Yes. It is.")
        '- Yes.\n- It is.'
    """
    return "\n".join(f"- {sentence}" for sentence in _SENTENCE.split(text.strip()))


def code_fence(text: str) -> str:
    r"""Put the whole answer between code fences.

    Example:
        >>> code_fence("Yes.")
        '```\nYes.\n```'
    """
    return f"```\n{text}\n```"


REWORDINGS: Mapping[str, Callable[[str], str]] = {
    edit.__name__: edit for edit in (lower_case, typos, whitespace, look_alikes, markdown_off, bullets, code_fence)
}
"""The edits by name."""
