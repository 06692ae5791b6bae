"""Write numbers the way the page shows them: three digits, with their interval and their count."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from rewardlab.metrics import Interval, Measure

MISSING = "not measured"
_MINUS = "\N{MINUS SIGN}"
_DASH = "\N{EN DASH}"


def number(value: Any) -> str:
    """Return a number with three significant digits, or say that there is none.

    Example:
        >>> [number(value) for value in (0.64249, 0.5, 13618, 1834.2, -0.031, 2e-7, 0, None)]
        ['0.642', '0.500', '13,618', '1,834', '−0.0310', '2.00×10⁻⁷', '0', 'not measured']
    """
    if not _is_number(value):
        return MISSING if value is None else plain(value)
    if not math.isfinite(value):
        return "not a finite number"
    if isinstance(value, int) or value == 0 or abs(value) >= 999.5:
        return f"{value:,.0f}".replace("-", _MINUS)
    if abs(value) < 1e-4:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}×10{str(int(exponent)).translate(_RAISED)}".replace("-", _MINUS)
    return f"{value:#.3g}".rstrip(".").replace("-", _MINUS)


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def interval(measure: Measure | None) -> str:
    r"""Return `value (low-high, n = num)` of a measured share.

    Example:
        >>> interval(Measure(value=0.6421, low=0.607, high=0.672, num=441))
        '0.642 (0.61–0.67, n\xa0=\xa0441)'
        >>> interval(None)
        'not measured'
    """
    if not measure or measure.value is None:
        return MISSING
    parts = [span(measure)] if has_interval(measure) else []
    parts += [count(measure.num)] if measure.num is not None else []
    return f"{number(measure.value)} ({', '.join(parts)})" if parts else number(measure.value)


def difference(measure: Measure | None) -> str:
    r"""Return a difference with its sign, its interval and its count.

    Example:
        >>> difference(Measure(value=0.0312, low=-0.004, high=0.0581, num=441))
        '+0.031 (−0.004 to +0.058, n\xa0=\xa0441)'
    """
    if not measure or measure.value is None:
        return MISSING
    parts = [span(measure, signed_values=True)] if has_interval(measure) else []
    parts += [count(measure.num)] if measure.num is not None else []
    return f"{signed(measure.value)} ({', '.join(parts)})" if parts else signed(measure.value)


def count(value: Any) -> str:
    """Return how many things were measured, in words that no line break parts."""
    return f"n = {number(value)}".replace(" ", "\N{NO-BREAK SPACE}")


def span(measure: Interval, *, signed_values: bool = False) -> str:
    """Return the bounds of an interval, with three digits where two would hide its width."""
    low, high = measure.low, measure.high
    if signed_values:
        return f"{signed(low)} to {signed(high)}"
    digits = 2 if high - low >= 0.02 else 3
    texts = [signed(bound, digits).lstrip("+") for bound in (low, high)]
    return (" to " if texts[0].startswith(_MINUS) else _DASH).join(texts)


def signed(value: float, digits: int = 3) -> str:
    """Return a value with its sign, a true minus included; zero has none."""
    text = f"{value:+.{digits}f}".replace("-", _MINUS)
    return text if text.strip(f"+{_MINUS}0.") else text[1:]


def has_interval(measure: Measure) -> TypeGuard[Interval]:
    """Say whether a measure knows its value and both of its bounds."""
    return None not in (measure.value, measure.low, measure.high)


def duration(value: Any) -> str:
    """Return seconds as people say them.

    Example:
        >>> [duration(value) for value in (0.02, 4.31, 75, 5400)]
        ['0.02 s', '4.3 s', '1 min 15 s', '1 h 30 min']
    """
    if not _is_number(value):
        return MISSING
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def percent(value: Any) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.3g} %" if _is_number(value) else MISSING


def plain(value: Any) -> str:
    """Return any JSON value as a short line of text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or _is_number(value):
        return number(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {plain(item)}" for key, item in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(item) for item in value) or "none"
    return str(value)


def relation(rule: str) -> str:
    """Return a rule with the signs of print.

    Example:
        >>> relation("lower end >= -0.02 and <= 1")
        'lower end ≥ −0.02 and ≤ 1'
    """
    return re.sub(r"(?<!\w)-(?=[\d.])", _MINUS, rule.replace(">=", "≥").replace("<=", "≤"))


def sentence(note: Any) -> str:
    """Return a note as a sentence, or nothing; a name at its start keeps its letters.

    Example:
        >>> sentence("all 4 rules hold"), sentence("reward-model/6 is stale.")
        ('All 4 rules hold.', 'reward-model/6 is stale.')
    """
    text = str(note or "").strip().rstrip(".")
    if not text:
        return ""
    return f"{text[0].upper()}{text[1:]}." if text.split()[0].isalpha() else f"{text}."


def clip(text: Any, limit: int = 2000) -> str:
    """Return a text cut to `limit` characters, saying so; a list of messages is written turn by turn."""
    if isinstance(text, Sequence) and not isinstance(text, str):
        text = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in text)
    text = str(text)
    return text if len(text) <= limit else f"{text[:limit].rstrip()} … [{len(text):,} characters in all]"


def clean(text: str) -> str:
    """Replace what HTML cannot hold: lone surrogates and control characters."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\N{REPLACEMENT CHARACTER}", text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
