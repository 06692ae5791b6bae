"""Split: parts are stable, given test data are respected, and nothing like test is left in train."""

import json
from dataclasses import replace

import pytest

from rewardlab.files import read_groups, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from steps.duplicates import jaccard, near_duplicates, shingles
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


def test_every_pair_above_the_threshold_is_found():
    texts = [" ".join(f"w{at}x{word}" for word in range(60)) for at in range(50)]
    changed = [text.replace(f"w{at}x30", "other").replace(f"w{at}x59", "end") for at, text in enumerate(texts)]
    found = near_duplicates(changed, texts)
    assert {place: match.reference for place, match in found.items()} == {at: at for at in range(50)}
    assert found[0].similarity == jaccard(shingles(changed[0]), shingles(texts[0])) > 0.8


def test_wrong_shares_and_too_few_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="sum to 1"):
        SplitConfig(train=0.9)
    with pytest.raises(ValueError, match="is empty"):
        run(tmp_path, [group(1)])
