"""Ingest: groups, unreadable rows and counts; test data are marked."""

import json
import os
from pathlib import Path

import pytest

from rewardlab.files import read_groups
from steps.ingest import IngestConfig, ingest

PAIR = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}
SHARED = os.environ.get("REWARDLAB_SHARED")


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def test_bad_rows_are_kept_with_line_and_reason(tmp_path):
    write(tmp_path / "x.jsonl", PAIR, "{broken", {"prompt": "Hi", "chosen": 3, "rejected": "a"})
    report = ingest(IngestConfig(), tmp_path / "x.jsonl", tmp_path / "out")
    bad = [json.loads(line) for line in (tmp_path / "out" / "unreadable.jsonl").read_text().splitlines()]
    assert (report.num_groups, report.num_unreadable) == (1, 2)
    assert [(row["line"], row["reason"][:12]) for row in bad] == [(2, "invalid JSON"), (3, "chosen is a ")]


def test_rows_of_test_are_marked_and_ids_are_made_unique(tmp_path):
    write(tmp_path / "in" / "data" / "a.jsonl", {**PAIR, "id": "a"}, {**PAIR, "id": "a"}, {**PAIR, "id": "a-2"})
    write(tmp_path / "in" / "test" / "b.jsonl", {**PAIR, "id": "a"})
    report = ingest(IngestConfig(), tmp_path / "in", tmp_path / "out")
    groups = list(read_groups(tmp_path / "out" / "groups.jsonl.gz"))
    assert [group.id for group in groups] == ["a", "a-2", "a-3", "a-2-2"]
    assert [group.meta.get("split") for group in groups] == ["test", None, None, None]
    assert report.num_test == 1


def test_each_file_of_a_folder_has_its_own_format_and_the_result_is_deterministic(tmp_path):
    write(tmp_path / "in" / "a.jsonl", PAIR)
    write(tmp_path / "in" / "b.jsonl", {"prompt": "p", "responses": ["x", "y"], "preferences": ["tie"]})
    reports = [ingest(IngestConfig(), tmp_path / "in", tmp_path / name) for name in ("one", "two")]
    assert reports[0] == reports[1]
    assert reports[0].num_groups == 2


def test_the_batches_do_not_matter(tmp_path, monkeypatch):
    rows = [{"prompt": f"p{at}", "chosen": "yes", "rejected": "no", "id": at % 50} for at in range(60)]
    write(tmp_path / "in" / "data" / "a.jsonl", *rows[:30], "{broken", *rows[30:])
    write(tmp_path / "in" / "data" / "b.jsonl", {"prompt": "p", "responses": ["x", "y"], "preferences": ["tie"]}, {})
    dialogue = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    write(tmp_path / "in" / "data" / "hh.jsonl", *[dialogue] * 4)
    write(tmp_path / "in" / "data" / "votes.csv", "prompt,chosen,rejected", "q,a,b", "q,b,a", "q,a")
    write(tmp_path / "in" / "test" / "c.jsonl", *rows[:3])
    whole = ingest(IngestConfig(), tmp_path / "in", tmp_path / "whole")
    monkeypatch.setattr("steps.ingest._BATCH_CHARACTERS", 500)
    assert ingest(IngestConfig(), tmp_path / "in", tmp_path / "parts") == whole
    assert (whole.num_groups, whole.num_test, whole.num_unreadable) == (70, 3, 3)
    assert whole.formats.keys() == {"pairs", "lists", "hh"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "is empty"),
        (("{a", "{b"), "no row of .* can be read:\n  x.jsonl line 1: invalid"),
        (({"a": 1},), "known are"),
    ],
)
def test_data_that_cannot_be_read_are_refused(tmp_path, rows, message):
    write(tmp_path / "x.jsonl", *rows)
    with pytest.raises(ValueError, match=message):
        ingest(IngestConfig(), tmp_path / "x.jsonl", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


@pytest.mark.skipif(not SHARED, reason="REWARDLAB_SHARED does not name the folder of real data")
@pytest.mark.parametrize(
    ("name", "num"), [("hh_harmless_raw_format", 2312), ("finegrained_lists", 500), ("hh_helpful", 1864)]
)
def test_real_data_are_read_whole(tmp_path, name, num):
    report = ingest(IngestConfig(), Path(str(SHARED)) / "data" / "train" / f"{name}.jsonl.gz", tmp_path / "out")
    assert (report.num_groups, report.num_unreadable) == (num, 0)


@pytest.mark.skipif(not SHARED, reason="REWARDLAB_SHARED does not name the folder of real data")
@pytest.mark.parametrize(
    ("name", "num", "subset"),
    [
        ("xstest", 975, "safe:comply"),
        ("crows_pairs", 1507, "race-color"),
        ("hhh", 221, "harmless"),
        ("llmbar", 878, "LLMBar/Adversarial/GPTInst"),
    ],
)
def test_real_benchmarks_are_surely_pairs_with_their_subsets(tmp_path, name, num, subset):
    report = ingest(IngestConfig(), Path(str(SHARED)) / "data" / "bench" / f"{name}.jsonl.gz", tmp_path / "out")
    assert (report.num_groups, report.formats) == (num, {"pairs": 1.0})
    assert next(read_groups(tmp_path / "out" / "groups.jsonl.gz")).subset == subset


def test_formats_are_told_with_the_least_sureness_of_their_files(tmp_path):
    write(tmp_path / "in" / "a.jsonl", PAIR)
    write(tmp_path / "in" / "b.jsonl", PAIR, PAIR, PAIR, {"question": "?"})
    write(tmp_path / "in" / "c.jsonl", {"prompt": "p", "responses": ["x", "y"], "preferences": ["tie"]})
    report = ingest(IngestConfig(), tmp_path / "in", tmp_path / "out")
    assert report.formats == {"pairs": 0.75, "lists": 1.0}
    assert ingest(IngestConfig(parse="pairs"), tmp_path / "in" / "a.jsonl", tmp_path / "given").formats == {}


def test_columns_name_fields_and_the_family_of_every_file(tmp_path):
    row = {"query": "Hi", "chosen": "Hello", "rejected": "Go away", "topic": 7}
    write(tmp_path / "in" / "data" / "a.jsonl", row)
    write(tmp_path / "in" / "test" / "a.jsonl", {**row, "topic": None})
    ingest(IngestConfig(columns={"prompt": "query", "family": "topic"}), tmp_path / "in", tmp_path / "out")
    groups = list(read_groups(tmp_path / "out" / "groups.jsonl.gz"))
    assert [(group.prompt[0].content, group.family) for group in groups] == [("Hi", ""), ("Hi", "7")]


def test_renamed_columns_reach_the_recipe_and_its_json():
    from commands.options import chosen_columns, chosen_recipe
    from pipelines.recipes import Recipe

    recipe = chosen_recipe("smoke", ["ingest.parse=pairs"], chosen_columns(["prompt=query", "family=a=b"]))
    assert recipe.ingest == IngestConfig(parse="pairs", columns={"prompt": "query", "family": "a=b"})
    assert Recipe.from_json(recipe.to_json()) == recipe
