"""In which language is a text? By py3langid: naive Bayes over byte sequences (Lui & Baldwin 2012, "langid.py")."""

from collections.abc import Iterable
from functools import cache
from typing import Any

_SHORTEST, _SURE = 20, 0.5
"""Shorter texts, in characters, and guesses that are less likely than this are in no known language."""


def languages(texts: Iterable[str]) -> list[str | None]:
    """Return the ISO 639 code of each text's language, None where it is too short or too mixed to say.

    Example:
        >>> languages(["Where is the nearest railway station?", "Wo ist der nächste Bahnhof?", "42"])
        ['en', 'de', None]
    """
    return [_language(text) for text in texts]


def _language(text: str) -> str | None:
    if len(text) < _SHORTEST:
        return None
    name, sureness = _identifier().classify(text)
    return str(name) if sureness >= _SURE else None


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
