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


def _escape(value: Any) -> str:
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*\[\]|<>&~]|(?<!\w)_|_(?!\w))", r"\\\1", line)
