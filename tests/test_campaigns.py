"""Campaigns: a result names what it was measured on, and code that has changed since makes it stale."""

import sys
from pathlib import Path

import jsonschema
import pytest

from rewardlab.files import read_json
from tests.campaigns import CAMPAIGNS, Campaign, code_digest, digests, run, stale
from tests.paths import ROOT

SCHEMA = {
    "type": "object",
    "properties": {
        "holds": {"type": "boolean"},
        "commit": {"type": "string", "pattern": "^[0-9a-f]{40}"},
        "date": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
        "machine": {"type": "object", "required": ["cpu", "cores"]},
        "code": {"type": "object", "minProperties": 1},
    },
    "required": ["name", "claim", "holds", "output", "seconds", "commit", "machine", "date", "code"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project of one module."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "code.py").write_text('"""A module."""\n\n\ndef one() -> int:\n    return 1\n')
    return tmp_path


def campaign(code: int = 0) -> Campaign:
    """Return a campaign that ends with a code."""
    command = (sys.executable, "-c", f"print('two lines'); print('1 passed'); raise SystemExit({code})")
    return Campaign(name="one", claim="one is 1", command=command, code=("room/*.py",))


def test_a_result_names_commit_machine_and_date(root: Path) -> None:
    assert run(campaign(), root / "results", root)
    result = read_json(root / "results" / "one.json")
    jsonschema.validate(result, SCHEMA)
    assert (result["holds"], result["output"], [*result["code"]]) == (True, "1 passed", ["room/code.py"])


def test_a_campaign_is_stale_before_it_was_run_and_when_it_did_not_hold(root: Path) -> None:
    assert list(stale([campaign()], root / "results", root)) == ["one: never run"]
    assert not run(campaign(1), root / "results", root)
    (line,) = stale([campaign()], root / "results", root)
    assert line.startswith("one: did not hold on ")


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ('"""Another text."""\n# why\n\n\ndef one() -> int:\n    """Return one."""\n    return 1\n', False),
        ("def one() -> int:\n    return 2\n", True),
        ("def one() -> int:\n    return 1\n\n\ndef two() -> int:\n    return 2\n", True),
    ],
)
def test_code_that_does_something_else_makes_it_stale_and_words_do_not(text: str, changed: bool, root: Path) -> None:
    run(campaign(), root / "results", root)
    assert list(stale([campaign()], root / "results", root)) == []
    (root / "room" / "code.py").write_text(text)
    lines = list(stale([campaign()], root / "results", root))
    assert [line.endswith("have changed: room/code.py") for line in lines] == [True] * changed


def test_a_file_that_came_or_went_makes_it_stale(root: Path) -> None:
    run(campaign(), root / "results", root)
    (root / "room" / "more.py").write_text("")
    assert len(list(stale([campaign()], root / "results", root))) == 1


def test_a_string_that_is_a_value_counts() -> None:
    assert code_digest("x = 'a'") != code_digest("x = 'b'")


@pytest.mark.parametrize("each", CAMPAIGNS, ids=lambda each: each.name)
def test_every_pattern_names_code_and_every_test_is_there(each: Campaign) -> None:
    assert all(list(ROOT.glob(pattern)) for pattern in each.code)
    assert digests(each)
    file, _, test = each.command[-1].partition("::")
    if test:
        before, found, _ = (ROOT / file).read_text(encoding="utf-8").partition(f"def {test}(")
        assert found
        assert "mark.campaign" in before.rpartition("\n\n\n")[2]


def test_every_test_that_is_a_campaign_is_listed() -> None:
    marked = {path.name for path in (ROOT / "tests").rglob("test_*.py") if "mark.campaign" in path.read_text()}
    listed = {Path(each.command[-1].partition("::")[0]).name for each in CAMPAIGNS if "::" in each.command[-1]}
    assert marked - {"test_campaigns.py"} == listed
