"""Patterns of personal data: mail addresses, telephone numbers, bank accounts, cards, and machines' addresses."""

import re

_PATTERNS = {
    "mail": re.compile(r"\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)*\.[a-zA-Z]{2,}\b"),
    "telephone": re.compile(r"(?<![\w.])(?:\+\d{1,3}[ .-]?)?(?:\(\d{3}\)|\d{3})[ .-]\d{3}[ .-]\d{4}(?!\w|\.\d)"),
    "account": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "card": re.compile(r"(?<![\d-])(?:\d[ -]?){13,19}(?![\d-])"),
    "machine": re.compile(r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?!\d|\.\d)"),
}
_SIGN = re.compile(r"[@\d]")


def personal_data(text: str) -> list[str]:
    """Return the kinds of personal data in a text, each once; card and account numbers must pass their check digits.

    Example:
        >>> personal_data("Write to ann@example.org or call 555-123-4567.")
        ['mail', 'telephone']
    """
    if not _SIGN.search(text):
        return []
    return [kind for kind, pattern in _PATTERNS.items() if any(_holds(kind, hit[0]) for hit in pattern.finditer(text))]


def _holds(kind: str, text: str) -> bool:
    plain = re.sub(r"[ -]", "", text)
    if kind == "card":
        return 13 <= len(plain) <= 19 and len(set(plain)) > 1 and _luhn(plain)
    if kind == "account":
        return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1  # ISO 7064, MOD 97-10
    return True


def _luhn(digits: str) -> bool:
    """Check a card number (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * (2 if at % 2 else 1) for at, digit in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0
