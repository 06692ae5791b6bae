"""Write the model card: the page's findings as Markdown, for the registry."""

import re
from typing import Any

from steps.report import words
from steps.report.findings import find
from steps.report.page import environment
from steps.report.record import Record


def model_card(record: Record) -> str:
    """Return the card of the version that the run registered; it says what the page says.

    Names and reasons are hostile here too: what Markdown or HTML would read as markup is escaped.
    """
    template = environment(finalize=_escape).get_template("card.md.j2")
    return words.clean(template.render(summary=record.summary, record=record, found=find(record)))


def cut(card: str, limit: int) -> str:
    r"""Return at most `limit` characters of a card, whole lines, and say where the rest is.

    Example:
        >>> cut("one line\nanother line\nand a third one, which is too long", 60)
        'one line\n\nThe rest is in the run’s model_card.md.\n'
    """
    if len(card) <= limit:
        return card
    rest = "\n\nThe rest is in the run’s model_card.md.\n"
    return card[: limit - len(rest)].rpartition("\n")[0].rstrip() + rest


def _escape(value: Any) -> str:
    return re.sub(r"([\\`*\[\]|<>])", r"\\\1", " ".join(str(value).split(" "))).replace("\n", " ").replace("\r", " ")
