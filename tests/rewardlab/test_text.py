"""One definition of text: what is one text to the fingerprints is one to the split and to near-duplicates."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardlab.fingerprints import fingerprints, known
from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.text import key64, normal, parse_json, share64, utf8, words
from steps.common.duplicates import jaccard, shingles, text_of
from steps.split import _key
from tests.paths import ROOT

ROOMS = ("rewardlab", "models", "synthetic", "steps", "components", "pipelines", "commands", "serving")
PLAIN = PreferenceGroup(
    id="a",
    prompt=(Message("user", "What is 2 + 2, and what is the word for it in Italian?"),),
    responses=("It is 4: quattro.", "It is 5, CINQUE."),
    comparisons=(Comparison(better=0, worse=1),),
)


def wide(text: str) -> str:
    """Return a text in full-width characters."""
    return "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in text)


def test_full_width_and_plain_are_one_text_to_everything() -> None:
    turns = tuple(Message(turn.role, wide(turn.content)) for turn in PLAIN.prompt)
    other = replace(PLAIN, id="b", prompt=turns, responses=tuple(map(wide, PLAIN.responses)))
    assert other.responses != PLAIN.responses
    assert known([other], fingerprints([PLAIN])) == [other]
    assert _key(other) == _key(PLAIN)
    assert jaccard(shingles(text_of(other)), shingles(text_of(PLAIN))) == 1.0


@given(st.text(max_size=40), st.text(max_size=40))
def test_texts_of_one_normal_form_have_the_same_words(one: str, other: str) -> None:
    assert normal(normal(one)) == normal(one) or not one.isascii()  # case folding can undo a composition, once
    if normal(one) == normal(other):
        assert words(one) == words(other)


def test_a_key_has_64_bits_and_a_share_is_below_1() -> None:
    assert all(0 <= key64(str(number)) < 2**64 for number in range(1000))
    shares = [share64(str(number)) for number in range(1000)]
    assert min(shares) >= 0
    assert max(shares) < 1
    assert sum(shares) / 1000 == pytest.approx(0.5, abs=0.03)


def test_half_of_a_surrogate_pair_is_refused_with_its_place() -> None:
    assert utf8("prompt", "é") == b"\xc3\xa9"
    with pytest.raises(ValueError, match=r"prompt: valid Unicode, got the lone surrogate '\\ud800' at character 2"):
        utf8("prompt", "ab\ud800")


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999", "[-1e999]"])
def test_a_number_that_is_not_finite_is_not_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a (JSON value|finite number)"):
        parse_json(text)


def test_nothing_else_defines_what_a_text_is() -> None:
    places = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"blake2b|NFKC|UnicodeEncodeError|parse_constant", path.read_text(encoding="utf-8"))
    }
    assert places == {"rewardlab/text.py"}
