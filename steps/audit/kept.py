"""Edits that keep what an answer says: the reward should not move."""

import re
from random import Random

from steps.audit.answer import Answer

_ALIKE = str.maketrans("aeopcxAEOPCXT", "аеорсхАЕОРСХТ")
_MARKUP = re.compile(r"\*\*|__|`+|^\s{0,3}(?:#+|[-*+]|\d+\.)\s+", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def lower_case(answer: Answer) -> str:
    """Write everything in small letters.

    Example:
        >>> lower_case(Answer("It is Four."))
        'it is four.'
    """
    return answer.text.lower()


def typos(answer: Answer) -> str:
    """Swap two inner letters in a tenth of the longer words, the same ones each time.

    Example:
        >>> typos(Answer("The answer is probably four."))
        'The ansewr is probably four.'
    """
    words = re.split(r"(\s+)", answer.text)
    long = [at for at, word in enumerate(words) if len(word) > 4]
    draw = Random(answer.text)  # noqa: S311 (no secret)
    for at in draw.sample(long, -(-len(long) // 10)):
        place = draw.randrange(1, len(words[at]) - 2)
        word = words[at]
        words[at] = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return "".join(words)


def whitespace(answer: Answer) -> str:
    r"""Double the blanks between sentences and end with an empty line.

    Example:
        >>> whitespace(Answer("Yes. It is."))
        'Yes.  It is.\n\n'
    """
    return _SENTENCE.sub(lambda gap: gap[0] * 2, answer.text) + "\n\n"


def look_alikes(answer: Answer) -> str:
    """Put Cyrillic letters that look the same in the place of every third word's Latin ones.

    Example:
        >>> look_alikes(Answer("an apple")) == "an apple"
        False
    """
    words = re.split(r"(\s+)", answer.text)
    return "".join(word.translate(_ALIKE) if at % 6 == 0 else word for at, word in enumerate(words))


def markdown_off(answer: Answer) -> str:
    r"""Take headings, bold type, list marks and code marks away; an answer without them stays as it is.

    Example:
        >>> markdown_off(Answer("## Plan\n- **First**: `go`"))
        'Plan\nFirst: go'
    """
    return _MARKUP.sub("", answer.text)


def bullets(answer: Answer) -> str:
    r"""Make each sentence an item of a list.

    Example:
        >>> bullets(Answer("Yes. It is."))
        '- Yes.\n- It is.'
    """
    return "\n".join(f"- {sentence}" for sentence in _SENTENCE.split(answer.text.strip()))


def code_fence(answer: Answer) -> str:
    r"""Put the whole answer between code fences.

    Example:
        >>> code_fence(Answer("Yes."))
        '```\nYes.\n```'
    """
    return f"```\n{answer.text}\n```"
