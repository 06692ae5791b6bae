"""Edits that spoil an answer: the reward should fall."""

from random import Random

from steps.audit.answer import Answer


def truncation(answer: Answer) -> str:
    """Keep the first half of the words.

    Example:
        >>> truncation(Answer("It is four apples."))
        'It is'
    """
    words = answer.text.split()
    return " ".join(words[: len(words) // 2])


def empty(_answer: Answer) -> str:
    """Say nothing.

    Example:
        >>> empty(Answer("4."))
        ''
    """
    return ""


def one_word(_answer: Answer) -> str:
    """Say a single word that answers nothing.

    Example:
        >>> one_word(Answer("4."))
        'Okay.'
    """
    return "Okay."


def word_shuffle(answer: Answer) -> str:
    """Put the words into another order, the same one each time.

    Example:
        >>> word_shuffle(Answer("It is four, I am sure."))
        'It am is I sure. four,'
    """
    words = answer.text.split()
    Random(answer.text).shuffle(words)  # noqa: S311 (no secret)
    return " ".join(words)


def another_answer(answer: Answer) -> str:
    """Give the answer to another prompt.

    Example:
        >>> another_answer(Answer("4.", other="Paris."))
        'Paris.'
    """
    return answer.other
