import json
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from benchmarks.harness import Row, at_most, main, median_seconds

SCHEMA = Path(__file__).parents[2] / "rewardlab" / "schemas" / "benchmark.schema.json"


def test_rows_are_written_as_the_contract_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        at_most(1, "fast enough", 0.4, "s", 0.5),
        at_most(2, "too slow", 0.6, "s", 0.5),
        Row(row=3, name="on a GPU", value=None, unit="s", status="not_run", why="no GPU"),
    ]
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(tmp_path / "out.json"), "--quick"])
    main("Measure.", lambda quick: rows if quick else [])
    result = json.loads((tmp_path / "out.json").read_text())
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(result)
    assert [row["status"] for row in result["rows"]] == ["met", "missed", "not_run"]


def test_the_median_is_of_the_repeats() -> None:
    calls: list[int] = []
    assert median_seconds(lambda: calls.append(1), 3) >= 0
    assert len(calls) == 3
