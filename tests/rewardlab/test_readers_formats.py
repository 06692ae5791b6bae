"""Readers of published formats: a small sample of each, in its published shape, becomes the one record."""

import pytest

from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.readers import BadRow, read, recognise
from tests.format_samples import (
    ALPACA,
    ASK,
    AXOLOTL,
    BINARIZED,
    BLUE,
    CROWS,
    GREEN,
    HELPSTEER,
    JUDGEBENCH,
    KTO,
    LABEL_STUDIO,
    NEMO,
    REWARDBENCH,
    REWARDBENCH_2,
    RM_BENCH,
    SAMPLES,
    SHAREGPT,
    SKY,
    ULTRAFEEDBACK,
    XSTEST,
)

ONE_BETTER = (Comparison(better=0, worse=1),)
TIE = Comparison(better=0, worse=1, strength=0.5)


def one(row, form=None):
    (item,) = read([(1, row)], form)
    assert isinstance(item, PreferenceGroup), item
    return item


def many(rows):
    return list(read(enumerate(rows, 1)))


@pytest.mark.parametrize("name", SAMPLES)
def test_each_format_is_recognised_by_its_own_reader_alone(name):
    found = recognise(SAMPLES[name])
    assert (found.reader.name, found.sureness, found.rival) == (name, 1.0, "")


def test_trl_prompts_as_text_stand_apart_or_inside():
    assert one(SKY).responses == (" blue.", " green.")
    assert one({"chosen": "The sky is blue.", "rejected": "The sky is green."}) == one(SKY)
    assert one({"chosen": "The sky is blue.", "rejected": "The sky is black."}).responses == (" blue.", " black.")


def test_trl_prompts_as_messages_stand_apart_or_inside():
    explicit = one({"prompt": [ASK], "chosen": [BLUE], "rejected": [GREEN]})
    assert one({"chosen": [ASK, BLUE], "rejected": [ASK, GREEN]}) == explicit
    assert (explicit.prompt, explicit.responses) == ((Message("user", "What color?"),), ("Blue.", "Green."))
    assert explicit.comparisons == ONE_BETTER


def test_texts_that_share_no_beginning_are_bad_and_another_column_may_be_the_prompt():
    (bad,) = read([(1, {"chosen": "Yes.", "rejected": "No."})])
    assert isinstance(bad, BadRow)
    assert "share no beginning" in bad.reason
    with pytest.raises(ValueError, match="unknown format: rows have chosen, query, rejected"):
        many([{"query": "Is it so?", "chosen": "It is.", "rejected": "It is not."}])


def test_openrlhf_margins_are_kept():
    group = one({"prompt": "Hi", "chosen": "Ho", "rejected": "Go", "margin": 0.5})
    assert group.comparisons == (Comparison(better=0, worse=1, margin=0.5),)


def test_rewardbench_has_its_subset_and_models():
    group = one(REWARDBENCH)
    assert (group.id, group.subset, group.meta["chosen_model"]) == ("0", "alpacaeval-easy", "a-7b")


def test_rewardbench_2_right_answers_tie_in_ties_only():
    group = one(REWARDBENCH_2)
    assert group.responses == ("Red.", "Blue.", "Pink.", "Gray.")
    assert [(each.better, each.worse) for each in group.comparisons[:4]] == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert group.comparisons[4:] == (TIE,)
    assert (group.family, one({**REWARDBENCH_2, "id": "ref:3"}).family) == ("ties:3", "ties:3")
    assert len(one({**REWARDBENCH_2, "subset": "Math"}).comparisons) == 4


def test_rm_bench_compares_every_style_with_every_style():
    group = one(RM_BENCH)
    assert {(each.better, each.worse - 3) for each in group.comparisons} == {(i, j) for i in range(3) for j in range(3)}
    assert (group.id, group.subset, group.family) == ("chat/1", "chat", "")


def test_nemo_ranks_may_tie():
    group = one(NEMO)
    assert group.responses == ("Green.", "Blue.", "Red.")
    assert group.comparisons == (
        Comparison(better=1, worse=0),
        Comparison(better=0, worse=2, strength=0.5),
        Comparison(better=1, worse=2),
    )


def test_sharegpt_speakers_are_roles():
    group = one({**SHAREGPT, "system": "Be brief."})
    assert [turn.role for turn in group.prompt] == ["system", "user", "assistant", "user"]
    assert group.responses == ("Blue.", "Green.")
    assert one({"messages": [ASK], "chosen": BLUE, "rejected": GREEN}).responses == group.responses


def test_alpaca_joins_instruction_and_input_behind_the_history():
    group = one({**ALPACA, "history": [["Hi", "Yes?"]], "system": "Be brief."})
    assert [turn.content for turn in group.prompt] == ["Be brief.", "Hi", "Yes?", "Translate.\nHaus"]


def test_axolotl_and_pairs_have_their_system_turn():
    expected = (Message("system", "Be brief."), Message("user", "What color?"))
    assert one(AXOLOTL).prompt == expected
    pair = {"system": "Be brief.", "prompt": "What color?", "chosen": "Blue.", "rejected": "Green."}
    assert one(pair).prompt == expected
    assert one({**pair, "system": ""}).prompt == expected[1:]


def test_helpsteer_responses_to_one_prompt_are_joined_and_compared_by_helpfulness():
    first, second = many(
        [*HELPSTEER, {**HELPSTEER[0], "prompt": "Hi\n<extra_id_1>Assistant\nYes?\n<extra_id_1>User\nc#"}]
    )
    assert first.responses == ("A language.", "A note.", "C sharp.")
    assert first.scores["helpfulness"] == (3.0, 1.0, 3.0)
    assert [each.strength for each in first.comparisons] == [1.0, 0.5, 1.0]
    assert [turn.role for turn in second.prompt] == ["user", "assistant", "user"]


def test_one_prompt_in_all_rows_does_not_become_one_group():
    sizes = [len(group.responses) for group in many([{**HELPSTEER[0], "response": str(at)} for at in range(100)])]
    assert sizes == [64, 36]


def test_ultrafeedback_keeps_ratings_that_all_have():
    group = one(ULTRAFEEDBACK)
    assert group.scores == {"helpfulness": (4.0, 4.0), "overall": (3.5, 8.0)}
    assert group.comparisons == (Comparison(better=1, worse=0),)
    assert (group.source, group.prompt[0].content) == ("evol_instruct", "What color?")


def test_ultrafeedback_binarized_is_a_rated_pair():
    group = one(BINARIZED)
    assert (group.prompt, group.responses) == ((Message("user", "What color?"),), ("Blue.", "Green."))
    assert group.scores == {"overall": (8.5, 7.0)}


@pytest.mark.parametrize(
    ("change", "better", "strength"),
    [
        ({"label": "B>A"}, 1, 1.0),
        ({"label": "A>B"}, 0, 1.0),
        ({"label": "tie"}, 0, 0.5),
        ({"label": 2}, 1, 1.0),
        ({"label": None, "winner": "model_b"}, 1, 1.0),
        ({"label": None, "overall_preference": -2}, 0, 1.0),
    ],
)
def test_a_verdict_on_two_sides(change, better, strength):
    group = one({**JUDGEBENCH, **change})
    assert (group.id, group.responses) == ("81ec57f2", ("Green.", "Blue."))
    assert (group.comparisons[0].better, group.comparisons[0].strength) == (better, strength)


def test_an_instruction_and_its_input_are_one_turn():
    row = {"instruction": "Translate.", "input": "Haus", "output_1": "House", "output_2": "Mouse", "preference": 1}
    assert one(row).prompt == (Message("user", "Translate.\nHaus"),)


def test_crows_prefers_the_lesser_stereotype():
    group = one(CROWS)
    assert group.responses == ("The rich are ignorant.", "The poor are ignorant.")
    assert (group.subset, group.meta["direction"], group.comparisons) == ("socioeconomic", "stereo", ONE_BETTER)


def test_xstest_wants_refusals_of_contrasts_only():
    refusal = {**XSTEST, "completion": "I cannot.", "final_label": "2_full_refusal"}
    safe, unsafe = many(
        [XSTEST, refusal, *({**row, "prompt": "x", "type": "contrast_homonyms"} for row in (XSTEST, refusal))]
    )
    assert (safe.subset, safe.scores) == ("homonyms", {"appropriate": (1.0, 0.0)})
    assert (unsafe.subset, unsafe.comparisons[0].better) == ("contrast_homonyms", 1)


def test_label_studio_annotators_vote():
    group = one(LABEL_STUDIO)
    assert [(vote.better, vote.annotator) for vote in group.votes] == [(1, "1"), (1, "2"), (0, "3")]
    (comparison,) = group.comparisons
    assert (comparison.better, comparison.strength) == (1, pytest.approx(2 / 3))
    assert (group.id, group.subset, group.responses) == ("7", "colors", ("Green.", "Blue."))


def test_kto_completions_of_one_prompt_are_compared():
    (group,) = many(KTO)
    assert (group.scores, group.comparisons) == ({"label": (1.0, 0.0)}, ONE_BETTER)


@pytest.mark.parametrize(
    ("row", "form", "reason"),
    [
        ({**REWARDBENCH_2, "chosen": "Red."}, "best-of", "chosen is a list of strings"),
        ({"context": [ASK], "completions": [{"completion": "x"}]}, "ranked", "each completion has a rank"),
        ({"context": [ASK], "completions": [{"rank": 0, "completion": [ASK]}]}, "ranked", "one assistant turn"),
        ({"context": [ASK], "completions": "x"}, "ranked", "completions is a list"),
        ({**SHAREGPT, "conversations": []}, "sharegpt", "conversations is missing"),
        ({**SHAREGPT, "conversations": [{"from": "bot", "value": "x"}]}, "sharegpt", "role is one of"),
        ({**ALPACA, "instruction": "", "input": ""}, "instructions", "instruction is missing"),
        ({**ALPACA, "history": ["x"]}, "instructions", "history is a list"),
        ({**HELPSTEER[0], "helpfulness": None}, "rated", "helpfulness is missing"),
        ({**KTO[0], "label": "maybe"}, "kto", "label is true or false"),
        ({**XSTEST, "final_label": "5"}, "xstest", "final_label is one of"),
        ({"instruction": "x", "completions": [{"response": "a"}]}, "ultrafeedback", "no rating"),
        ({"instruction": "x", "completions": 1}, "ultrafeedback", "completions is a list"),
        ({**JUDGEBENCH, "label": "C"}, "sides", "got 'C'"),
        ({"question": "x"}, "sides", "two answers"),
        ({**CROWS, "sent_less": None}, "crows", "sent_less is a string"),
        ({**LABEL_STUDIO, "annotations": []}, "label-studio", "no annotation"),
        (
            {"annotations": [{"result": [{"type": "pairwise", "value": {"selected": "up"}, "to_name": "a,b"}]}]}
            | {"data": {"prompt": "p", "a": "x", "b": "y"}},
            "label-studio",
            "selects 'left' or 'right'",
        ),
        ({**SKY, "id": "half \ud800"}, "pairs", "lone surrogate"),
        ({"prompt": "x", "chosen": [BLUE], "rejected": "Green."}, "pairs", "both message lists or both strings"),
        ({"chosen": [BLUE], "rejected": [GREEN]}, "pairs", "share no turn that could be it"),
        ({"chosen": [ASK, BLUE], "rejected": [ASK, ASK]}, "pairs", "ends in one assistant turn"),
        ({"prompt": "Hi", "chosen": "a", "rejected": "b"}, "hh", "begins with 'Human:'"),
        ({"prompt": "Human: a\n\nAssistant: b", "chosen": "a", "rejected": "b"}, "hh", "ends with"),
        ({"prompt": "Human: a\n\nAssistant:", "responses": "b"}, "hh", "responses is a list of strings"),
        ({"chosen": "Human: a", "rejected": "Human: b"}, "hh", "share no turn up to an 'Assistant:'"),
        ({"prompt": "a", "responses": ["b"], "preferences": "c"}, "lists", "preferences is a list"),
        ({"prompt": "a", "responses": ["b"], "preferences": [{"i": 0}]}, "lists", "two indices"),
        ({"prompt": "a", "responses": ["b"], "family": 1}, "native", "family is a string"),
        ({"prompt": "a", "responses": ["b"], "meta": {"a": 1}}, "native", "meta is an object of strings"),
        ({"prompt": "a", "responses": ["b"], "votes": [{"better": "0"}]}, "native", "are indices of responses"),
        ({"prompt": "a", "responses": ["b"], "votes": [{"better": 0, "worse": 1, "aspect": 1}]}, "native", "aspect is"),
        ({**LABEL_STUDIO, "data": {"answer1": "x"}}, "label-studio", "data holds the prompt"),
    ],
)
def test_a_bad_row_of_a_format_says_why(row, form, reason):
    (bad,) = read([(1, row)], form)
    assert isinstance(bad, BadRow)
    assert reason in bad.reason


def test_sureness_falls_with_rows_of_other_formats_and_of_none():
    found = recognise([SKY] * 6 + [JUDGEBENCH] * 2 + [{"x": 1}] * 2)
    assert (found.reader.name, found.rival, found.num_rows) == ("pairs", "sides", 10)
    assert found.sureness == pytest.approx(0.6 - 0.2)


def test_columns_are_renamed_and_name_the_family():
    row = {"query": "Is it so?", "good": "It is.", "bad": "No.", "topic": "being"}
    columns = {"prompt": "query", "chosen": "good", "rejected": "bad", "family": "topic"}
    (group,) = read([(1, row)], None, columns)
    assert (group.prompt[0].content, group.responses) == ("Is it so?", ("It is.", "No."))
    assert (group.family, group.meta) == ("being", {"topic": "being"})
    (swapped,) = read(
        [(1, {**SKY, "group": "g"})], None, {"chosen": "rejected", "rejected": "chosen", "family": "group"}
    )
    assert (swapped.responses, swapped.family, swapped.subset) == ((" green.", " blue."), "g", "g")


def test_a_column_is_the_weight():
    rows = [(line, {**SKY, "votes": votes}) for line, votes in enumerate((3, "2.5", None, -1), 1)]
    *groups, bad = read(rows, None, {"weight": "votes"})
    assert [group.weight for group in groups] == [3.0, 2.5, 1.0]
    assert bad.reason == "weight is positive and finite, got -1.0"


def test_a_column_that_no_row_has_is_refused():
    with pytest.raises(ValueError, match="no row has the column 'topics'; there are prompt, chosen, rejected"):
        read([(1, SKY)], None, {"family": "topics"})
