"""Readers: each format becomes the one record, and bad rows say why."""

import json

import pytest

from rewardlab.groups import Comparison, PreferenceGroup
from rewardlab.readers import READERS, BadRow, read, recognise
from rewardlab.readers.hh import conversation
from rewardlab.readers.votes import aggregate
from tests.format_samples import SAMPLES

PAIR = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}
HH_PROMPT = "Human: Hi\n\nAssistant: Yes?\n\nHuman: Bye\n\nAssistant:"
HH_RAW = {"chosen": f"\n\n{HH_PROMPT} See you", "rejected": f"\n\n{HH_PROMPT} Stay"}
LIST = {"prompt": "Q", "context": "C", "responses": ["a", "b", "c"], "preferences": [0, "tie", 2]}


def one(row, form=None):
    (item,) = read([(1, row)], form)
    return item


def test_a_string_prompt_is_one_user_turn_as_it_is():
    group = one({**PAIR, "prompt": "Human: Hi", "group": "chat", "source": "s", "direction": "x"})
    assert [(turn.role, turn.content) for turn in group.prompt] == [("user", "Human: Hi")]
    assert group.responses == ("Hello", "Go away")
    assert (group.subset, group.family, group.source, group.meta) == ("chat", "", "s", {"direction": "x"})
    assert group.comparisons == (Comparison(better=0, worse=1),)


def test_a_strength_below_half_swaps_the_pair():
    group = one({**PAIR, "strength": "0.2", "margin": 1, "score_chosen": 2, "score_rejected": 3.5})
    assert group.comparisons == (Comparison(better=1, worse=0, strength=0.8, margin=-1.0),)
    assert group.scores == {"overall": (2.0, 3.5)}


@pytest.mark.parametrize("given", [{}, {"prompt": "Hi"}, {"prompt": [{"role": "user", "content": "Hi"}]}])
def test_message_lists_give_the_same_group_with_and_without_a_prompt(given):
    ask = [] if isinstance(given.get("prompt"), list) else [{"role": "user", "content": "Hi"}]
    sides = {key: [*ask, {"role": "assistant", "content": PAIR[key]}] for key in ("chosen", "rejected")}
    assert one({**given, **sides}) == one(PAIR)


def test_hh_transcripts_and_hh_pairs_are_the_same_record():
    pair = one({"prompt": HH_PROMPT, "chosen": "See you", "rejected": "Stay"})
    assert [turn.role for turn in pair.prompt] == ["user", "assistant", "user"]
    assert one(HH_RAW) == pair
    assert recognise([HH_RAW]).reader.name == "hh"


def test_hh_transcripts_are_cut_where_they_still_agree():
    group = one(
        {
            "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
            "rejected": "\n\nHuman: a\n\nAssistant: e",
        }
    )
    assert group.prompt == conversation("Human: a\n\nAssistant:")
    assert group.responses == ("b\n\nHuman: c\n\nAssistant: d", "e")


def test_hh_joins_neighbouring_turns_and_scores_plain_rows():
    turns = conversation("Human: a\n\nHuman: b\n\nAssistant:\n\nHuman: c\n\nAssistant:")
    assert [turn.content for turn in turns] == ["a\n\nb\n\nc"]
    plain = one({"id": 7, "prompt": HH_PROMPT, "responses": [" x", "y"]}, "hh")
    assert (plain.id, plain.responses, plain.comparisons) == ("7", ("x", "y"), ())


def test_a_list_has_its_context_in_the_prompt():
    group = one(LIST)
    assert group.prompt[0].content == "Context:\nC\n\nQuestion: Q"
    assert group.comparisons[1] == Comparison(better=0, worse=2, strength=0.5)
    named = [{"i": 0, "j": 1, "label": "i"}, {"i": 0, "j": 2, "label": "tie"}, {"i": 1, "j": 2, "label": "j"}]
    assert one({**LIST, "preferences": named}) == group


def test_a_native_row_comes_back_and_votes_are_aggregated():
    votes = (Comparison(better=0, worse=1, annotator="a"), Comparison(better=1, worse=0, strength=0.5, annotator="b"))
    group = PreferenceGroup(id="g", prompt=one(PAIR).prompt, responses=("x", "y"), votes=votes, family="f")
    back = one(json.loads(json.dumps(group.to_dict())))
    assert (back.id, back.votes, back.family) == ("g", votes, "f")
    assert back.comparisons == (Comparison(better=0, worse=1, strength=0.75),)


def test_votes_count_by_pair_and_aspect():
    votes = [Comparison(better=1, worse=0, margin=2.0), Comparison(better=0, worse=1, margin=1.0)]
    votes += [Comparison(better=1, worse=0), Comparison(better=0, worse=1, aspect="harmless")]
    first, second = aggregate(votes)
    assert (first.better, first.strength, first.margin) == (1, pytest.approx(2 / 3), 0.5)
    assert (second.better, second.strength, second.aspect) == (0, 1.0, "harmless")


def test_an_id_depends_on_the_contents_and_not_on_the_place():
    first, second = read([(1, PAIR), (9, {**PAIR, "source": "other"})])
    assert first.id == second.id
    assert len(first.id) == 16
    assert one({**PAIR, "chosen": "Hey"}).id != first.id


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Hi", "chosen": "a", "rejected": None}, "rejected is a string"),
        ({**PAIR, "margin": float("nan")}, "margin is a finite number"),
        ({**PAIR, "strength": 1.5}, "strength is P"),
        ({**PAIR, "chosen": "\ud800"}, "surrogate"),
        ({**LIST, "preferences": [0, 1, 2]}, "of responses 0 and 2"),
        ({**LIST, "preferences": [0]}, "make 3 pairs"),
        ({**LIST, "preferences": [{"i": 0, "j": 9, "label": "j"}]}, "index 9 is out of range"),
        ({"prompt": "Hi", "responses": ["a"], "comparisons": [{"better": 0, "worse": 1}]}, "index 1 is out of range"),
        ({"prompt": "Hi", "responses": ["a", "b"], "comparisons": 3}, "comparisons is a list"),
        ({"prompt": "Hi", "responses": "ab"}, "responses is a list"),
        ({"prompt": [{"role": "human", "content": "x"}], "chosen": "a", "rejected": "b"}, "role is one of"),
        ([1], "a row is a JSON object"),
    ],
)
def test_a_bad_row_says_why(row, reason):
    plain = {"prompt": "p", "responses": ["a"]}
    sound = LIST if "preferences" in row else PAIR if "chosen" in row else plain
    good, bad = read([(1, sound), (2, row)])
    assert isinstance(good, PreferenceGroup)
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.row) == (2, row)
    assert reason in bad.reason


def test_an_unknown_format_names_the_keys_and_the_formats():
    with pytest.raises(ValueError, match=r"answer, question; known are\n  native:.*\n  hh:"):
        one({"question": "a", "answer": "b"})
    with pytest.raises(ValueError, match="unknown format 'csv'"):
        one(PAIR, "csv")


def test_one_hh_like_prompt_does_not_make_a_file_hh():
    assert recognise([PAIR, {**PAIR, "prompt": HH_PROMPT}]).reader.name == "pairs"
    assert recognise([{**PAIR, "prompt": HH_PROMPT}]).reader.name == "hh"


@pytest.mark.parametrize("name", ["native", "lists"])
@pytest.mark.parametrize("key", ["prompt", "responses"])
def test_a_row_without_a_field_is_bad_and_takes_no_other_with_it(name: str, key: str) -> None:
    whole = {"prompt": "Hi", "responses": ["a", "b"]} | ({"preferences": [0]} if name == "lists" else {})
    partial = {field: value for field, value in whole.items() if field != key}
    found = list(read([(1, partial), (2, whole)], name))
    assert [isinstance(item, BadRow) for item in found] == [True, False]


ODD = (None, "", 0, 1.5, True, [], [None], ["a"], [["a", 1]], {}, {"a": 1}, [{"role": 1, "content": 2}], "x" * 5)


def variants(value):
    """Yield a value with one part of it, at any depth, left out or replaced by something odd."""
    yield from ODD
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(parts):
        if isinstance(value, dict):
            yield {name: other for name, other in value.items() if name != key}
        for other in variants(part):
            copy = value.copy()
            copy[key] = other
            yield copy


@pytest.mark.parametrize("name", [*SAMPLES, "native", "lists", "hh"])
def test_whatever_a_row_holds_it_is_read_or_bad_and_never_an_error(name):
    native = {"prompt": "Hi", "responses": ["a", "b"], "votes": [{"better": 0, "worse": 1}], "scores": {"g": [1, 2]}}
    known = {**SAMPLES, "native": [native], "lists": [LIST], "hh": [HH_RAW, {"prompt": HH_PROMPT, "responses": ["a"]}]}
    rows = [row for sample in known[name] for row in variants(sample)]
    for reader in READERS:
        assert {reader.fits(row) for row in rows if isinstance(row, dict)} <= {True, False}
    kinds = {type(item) for item in read(enumerate(rows), name)}
    assert kinds == {BadRow, PreferenceGroup}
