"""Split: parts are stable, given test data are respected, and nothing like test is left in train."""

import json
import random
from dataclasses import replace

import pytest

from rewardlab.files import group_line, read_groups, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from steps.common.duplicates import find, jaccard, shingles, text_of, write_index
from steps.split import PARTS, SplitConfig, split


def group(at, **changes):
    made = PreferenceGroup(
        id=f"g{at}",
        prompt=(Message("user", f"What is {at} and why?"),),
        responses=(f"It is {at * 7}.", f"Nobody knows {at * 3}."),
        comparisons=(Comparison(better=0, worse=1),),
    )
    return replace(made, **changes)


def run(folder, groups, **config):
    folder.mkdir(exist_ok=True)
    write_groups(folder / "groups.jsonl.gz", groups)
    report = split(SplitConfig(**config), folder, folder / "out")
    return report, {part: list(read_groups(folder / "out" / f"{part}.jsonl.gz")) for part in PARTS}


def said(words, vocabulary, length):
    return " ".join(str(words.randrange(vocabulary)) for _ in range(length))


def ids(groups):
    return {each.id for each in groups}


def test_shares_are_kept_and_no_group_is_lost(tmp_path):
    report, parts = run(tmp_path, [group(at) for at in range(2000)])
    assert len(parts["test"]) == pytest.approx(200, abs=40)
    assert len(parts["validation"]) == pytest.approx(100, abs=30)
    assert sum(map(len, parts.values())) + report.num_dropped == 2000


def test_growing_data_never_changes_test(tmp_path):
    _, before = run(tmp_path / "a", [group(at) for at in range(500)])
    _, after = run(tmp_path / "b", [group(at) for at in reversed(range(900))])
    old = {f"g{at}" for at in range(500)}
    assert ids(after["test"]) & old == ids(before["test"])


def test_families_and_prompts_do_not_straddle(tmp_path):
    asked = (Message("user", "Which  one?"),), (Message("user", "which one?"),)
    groups = [group(at, family=f"f{at % 60}") for at in range(600)]
    groups += [group(1000 + at, prompt=asked[at % 2]) for at in range(20)]
    _, parts = run(tmp_path, groups)
    families = [{each.family or "prompt" for each in parts[part]} for part in PARTS]
    assert sum(map(len, families)) == len(set().union(*families))


def test_a_prompt_that_holds_most_rows_is_split_by_its_rows(tmp_path):
    same = (Message("user", "Describe a day."),)
    report, parts = run(tmp_path, [group(at, prompt=same) for at in range(600)])
    assert report.heavy_prompts == 1
    assert all(parts.values())


def test_given_test_data_are_test_and_nothing_else_is(tmp_path):
    groups = [group(at, meta={"split": "test"} if at < 40 else {}) for at in range(400)]
    report, parts = run(tmp_path, groups)
    assert ids(parts["test"]) == {f"g{at}" for at in range(40)}
    assert report.test_is_given
    assert len(parts["train"]) > 300


def test_a_near_duplicate_of_test_is_dropped_with_its_reason(tmp_path):
    story = " ".join(f"word{at}" for at in range(60))
    held = group(0, responses=(story, "no"), meta={"split": "test"})
    copy = group(
        1,
        prompt=(Message("user", f"{held.prompt[-1].content} please"),),
        responses=("no", story.replace("word30", "other")),
    )
    report, parts = run(tmp_path, [held, copy, *(group(at) for at in range(2, 40))])
    (dropped,) = map(json.loads, (tmp_path / "out" / "dropped.jsonl").read_text().splitlines())
    assert dropped["id"] == "g1"
    assert "near-duplicate of test group g0 (Jaccard 0." in dropped["reason"]
    assert "g1" not in set().union(*map(ids, parts.values()))
    assert report.num_dropped == 1


def test_a_prompt_of_the_given_test_set_is_in_no_other_part(tmp_path):
    held = group(0, meta={"split": "test"})
    same = group(1, prompt=held.prompt, responses=("something", "else entirely"))
    report, parts = run(tmp_path, [held, same, *(group(at) for at in range(2, 40))])
    assert "g1" not in set().union(*map(ids, parts.values()))
    assert "its prompt or family is in the given test set" in (tmp_path / "out" / "dropped.jsonl").read_text()
    assert report.num_dropped == 1


def search(folder, references, groups, threshold):
    write_groups(folder / "references.jsonl.gz", references)
    ids = write_index(folder / "references.jsonl.gz", folder / "index", threshold=threshold)
    matches = find(folder / "index", threshold, list(map(group_line, groups)))
    found = zip(groups, matches, strict=True)
    return {each.id: (ids[match.reference], match.similarity) for each, match in found if match}


@pytest.mark.parametrize("threshold", [0.2, 0.8, 1.0])
def test_exactly_the_pairs_above_the_threshold_are_found(tmp_path, threshold):
    words = random.Random(0)
    references = [group(at, responses=(said(words, 3, 40), said(words, 9, 40))) for at in range(60)]
    groups = [group(at, responses=(said(words, 3, 10), each.responses[1])) for at, each in enumerate(references)]
    groups += [replace(each, id=f"{each.id} again", responses=each.responses[::-1]) for each in references[::7]]
    wanted = {}
    for each in groups:
        alike = [(jaccard(shingles(text_of(each)), shingles(text_of(other))), other.id) for other in references]
        best = max(alike, key=lambda pair: pair[0])
        wanted |= {each.id: (best[1], best[0])} if best[0] >= threshold else {}
    assert search(tmp_path, references, groups, threshold) == wanted
    assert wanted


@pytest.mark.parametrize(("text", "num"), [("", 1), ("a", 1), ("a b", 1), ("A, b c!", 1), ("a b c d", 2), ("b a", 1)])
def test_fewer_words_than_three_are_one_shingle(text, num):
    assert len(shingles(text)) == num
    assert jaccard(shingles(text), shingles("b a")) == float(text == "b a")


def test_the_chunks_do_not_matter(tmp_path, monkeypatch):
    words = random.Random(1)
    groups = [group(at, responses=(said(words, 99, 40), "no")) for at in range(80)]
    groups += [group(at + 80, responses=(each.responses[0], f"no {at}")) for at, each in enumerate(groups)]
    whole, _ = run(tmp_path / "whole", groups)
    monkeypatch.setattr("rewardlab.files._CHUNK_BYTES", 5000)
    parts, _ = run(tmp_path / "parts", groups)
    assert whole == parts
    assert whole.num_dropped > 3


def test_wrong_shares_and_too_few_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="sum to 1"):
        SplitConfig(train=0.9)
    with pytest.raises(ValueError, match="is empty"):
        run(tmp_path, [group(1)])
