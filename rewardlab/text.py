r"""One definition of text: when two texts are the same, the number that stands for one, and what is valid.

Fingerprints, the split, near-duplicates, readers, the server's limits and scoring all go by these.
"""

import hashlib
import json
import math
import re
import unicodedata
from typing import Any, NoReturn

_WORD = re.compile(r"\w+")
_ASCII_WORDS = "".join(chr(code).lower() if chr(code).isalnum() or code == ord("_") else " " for code in range(128))


def normal(text: str) -> str:
    r"""Return the normal form of a text: two texts are the same if theirs are equal.

    Width and case of letters, and how many blanks stand where, do not matter (Unicode NFKC, then case folding).

    Example:
        >>> normal("２ + ２ \n IST  Vier") == normal("2 + 2 ist vier")
        True
    """
    folded = text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split())


def words(text: str) -> list[str]:
    """Return the words of a text in its normal form; those of ASCII alone are split three times as fast.

    Example:
        >>> words("The cat's 2 toys"), words("ÉTÉ à Paris")
        (['the', 'cat', 's', '2', 'toys'], ['été', 'à', 'paris'])
    """
    return text.translate(_ASCII_WORDS).split() if text.isascii() else _WORD.findall(normal(text))


def key64(text: str) -> int:
    """Return the 64-bit key of a text: two texts that have the same one are taken to be equal.

    Of 10 million texts, two share a key by chance with a probability of 3 in a million.

    Example:
        >>> f"{key64('a'):016x}"
        '40f89e395b66422f'
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def share64(text: str) -> float:
    """Return where in [0, 1) a text falls, evenly over texts: by this a share of them is chosen, always the same."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48


def utf8(where: str, text: str) -> bytes:
    r"""Return a text in UTF-8.

    Raises:
        ValueError: it holds half of a surrogate pair, which JSON can write (`"\ud800"`) and UTF-8 cannot.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(
            f"{where}: valid Unicode, got the lone surrogate {half!r} at character {error.start}"
        ) from error


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, strictly.

    Raises:
        ValueError: it is not JSON, or holds a number that is not finite (NaN, Infinity, 1e999).
    """
    return _STRICT.decode(text)


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number} is not a finite number")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_STRICT = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)
