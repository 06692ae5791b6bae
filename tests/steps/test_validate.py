"""Validate: the expectations decide which rows are quarantined and whether data are refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from rewardlab.files import read_groups, read_json, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from steps.validate import ValidateConfig, validate


def group(name, **changes):
    made = PreferenceGroup(
        id=name,
        prompt=(Message("user", f"Question {name}?"),),
        responses=(f"Yes, {name}.", f"Surely not, {name}!"),
        comparisons=(Comparison(better=0, worse=1),),
    )
    return replace(made, **changes)


def sound(count):
    sides = (Comparison(better=0, worse=1),), (Comparison(better=1, worse=0),)
    return [group(f"g{at}", comparisons=sides[at % 2]) for at in range(count)]


def check(folder, groups, **config):
    folder.mkdir(exist_ok=True)
    write_groups(folder / "groups.jsonl.gz", groups)
    return validate(ValidateConfig(**config), folder, folder / "out")


BAD = {
    "has_2_or_more_responses": group("b0", responses=("a",), comparisons=(), scores={"gold": (1.0,)}),
    "no_turn_is_empty": group("b1", prompt=(Message("user", "q"), Message("assistant", " "), Message("user", "r"))),
    "no_response_is_empty": group("b2", responses=("a", "  ")),
    "roles_alternate": group("b3", prompt=(Message("user", "a"), Message("user", "b"))),
    "prompt_ends_with_user": group("b4", prompt=(Message("user", "a"), Message("assistant", "b"))),
    "responses_differ": group("b5", responses=("same", "same")),
    "text_is_clean": group("b6", responses=("a\0", "b")),
    "responses_hold_no_turn_marker": group("b7", responses=("a\n\nHuman: b", "c")),
    "has_a_label": group("b8", comparisons=()),
    "scores_are_not_too_high": group("b9", scores={"gold": (1e9, 0.0)}),
    "no_pair_is_compared_twice": group(
        "b10", comparisons=(Comparison(better=0, worse=1), Comparison(better=1, worse=0))
    ),
    "is_no_copy_of_an_earlier_row": replace(sound(1)[0], id="b11"),
    "prompt_is_given": group("b12", prompt=(Message("user", "\n"),)),
    "has_not_too_many_responses": group("b13", responses=tuple(map(str, range(65)))),
}
UNREADABLE = '{"line": 3, "reason": "invalid JSON", "row": "{"}\n'
MOMENT = re.compile(r"\d{8}T\d{6}\.\d{6}Z|\d{4}-\d\d-\d\dT[\d:.+Z]+|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def pages(docs: Path) -> dict[str, str]:
    """Return the pages of Data Docs without the ids and times of their run; the index has nothing else."""
    texts = {path.relative_to(docs).as_posix(): path.read_text() for path in docs.rglob("*.html")}
    del texts["index.html"]
    assert texts
    return {MOMENT.sub("", name): MOMENT.sub("", text) for name, text in texts.items()}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validate")
    (folder / "unreadable.jsonl").write_text(UNREADABLE)
    return check(folder, [*sound(150), *BAD.values()], max_quarantine_share=0.2), folder / "out"


def test_every_planted_defect_is_found_and_sound_rows_pass(report):
    found = {}
    for line in (report[1] / "quarantine.jsonl").read_text().splitlines():
        record = json.loads(line)
        found[record.get("id", record.get("line"))] = record["reasons"]
    assert found.pop(3) == ["invalid JSON"]
    assert {name: found[bad.id] for name, bad in BAD.items() if name in found[bad.id]}.keys() == BAD.keys()
    assert len(found) == len(BAD)
    assert [accepted.id for accepted in read_groups(report[1] / "groups.jsonl.gz")] == [g.id for g in sound(150)]


def test_the_report_lists_the_expectations(report):
    written = read_json(report[1] / "validation.json")
    names = [entry["name"] for entry in written["expectations"]]
    share = next(entry for entry in written["expectations"] if entry["name"] == "few_rows_are_quarantined")
    assert len(names) == len(set(names)) >= 12
    assert share["observed"] == pytest.approx((len(BAD) + 1) / (150 + len(BAD) + 1))
    assert written["num_accepted"] == report[0].num_accepted == 150
    assert (report[1] / "docs" / "index.html").exists()


def test_the_digest_does_not_depend_on_the_time(report, tmp_path):
    first, second = (check(tmp_path / name, sound(8)) for name in ("a", "b"))
    assert first == second


def test_the_chunks_do_not_matter(tmp_path, monkeypatch):
    other = Comparison(better=1, worse=0)
    groups = [*sound(40), *(replace(each, id=f"{each.id} again") for each in sound(3)), group("g4", comparisons=())]
    groups += [replace(each, id=f"not {each.id}", comparisons=(other,)) for each in sound(9)[::2]]
    reports = [check(tmp_path / "whole", groups, max_quarantine_share=0.5)]
    monkeypatch.setattr("rewardlab.files._CHUNK_BYTES", 2000)
    reports += [check(tmp_path / "parts", groups, max_quarantine_share=0.5)]
    expectations = read_json(tmp_path / "parts" / "out" / "validation.json")["expectations"]
    share = next(entry["observed"] for entry in expectations if entry["name"] == "rows_agree_with_one_another")
    assert reports[0] == reports[1]
    assert reports[0].quarantined == {"is_no_copy_of_an_earlier_row": 3, "has_a_label": 1}
    assert share == 5 / 45


def test_in_many_chunks_every_defect_is_found_and_the_pages_are_the_same(report, tmp_path, monkeypatch):
    monkeypatch.setattr("steps.common.parallel.num_cores", lambda: 1)  # no processes are started
    monkeypatch.setattr("rewardlab.files._CHUNK_BYTES", 4000)
    (tmp_path / "unreadable.jsonl").write_text(UNREADABLE)
    assert check(tmp_path, [*sound(150), *BAD.values()], max_quarantine_share=0.2) == report[0]
    assert pages(tmp_path / "out" / "docs") == pages(report[1] / "docs")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([*sound(20), *BAD.values()], r"few_rows_are_quarantined does not hold: quarantined is 0\.41"),
        (
            [group(f"g{at}", comparisons=(Comparison(better=1, worse=0),)) for at in range(120)],
            "length_does_not_decide",
        ),
        ([*BAD.values()][1:4], "all 3 groups are quarantined: "),
        ([*sound(3), sound(1)[0]], "copy"),
    ],
)
def test_bad_data_are_refused_with_the_reasons(tmp_path, groups, message):
    with pytest.raises(ValueError, match=message):
        check(tmp_path, groups)
    assert not (tmp_path / "out").exists()
