"""The committed JSON schemas: what they accept, and that each required key is required."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest

from rewardlab.config import Count, Report, Share, optional
from rewardlab.files import read_json
from tests import golden_schemas

FOLDER = Path(__file__).parents[2] / "rewardlab" / "schemas"
ACCURACY = {"value": 0.75, "low": 0.7, "high": 0.8, "num": 400}
EVALUATION: dict[str, Any] = {
    "model": "reward-model/3",
    "data": {"path": "test.jsonl", "md5": "0123456789abcdef" * 2, "groups": 200, "comparisons": 400},
    "metrics": {
        "accuracy": ACCURACY,
        "accuracy_gold": None,
        "ece": {"value": 0.02, "before": 0.1, "num": 400, "temperature": 1.5, "bins": [], "brier": 0.2, "nll": 0.5},
        "spearman": {"value": 0.4, "aspect": "helpful", "num": 200},
        "length_correlation": {"value": 0.1, "num": 200},
    },
    "subsets": {"chat": {"accuracy": ACCURACY}},
}
MEASURED: dict[str, Any] = {
    "baselines": {"length": ACCURACY, "overlap": ACCURACY, "champion": None},
    "champion": {
        "model": "reward-model/2",
        "accuracy": ACCURACY,
        "difference": {"value": -0.01, "low": -0.03, "high": 0.01, "num": 400},
        "note": "",
    },
    "rewards": {"mean": 0.1, "sd": 1.0, "min": -3, "max": 3, "num": 400, "quantiles": {"0.5": 0.0}},
    "scatter": [[120, 0.3]],
    "mistakes": [
        {"id": "7", "subset": "", "prompt": "a", "better": "b", "worse": "c", "rewards": [-1.0, 1.0], "strength": 1.0}
    ],
}
RUN = {
    "decision": "promoted",
    "reason": "better than the champion",
    "recipe": "smoke",
    "seconds": {"train": 12.5},
    "reused": ["ingest"],
    "versions": {"python": "3.11"},
    "lineage": {"data": "0123"},
    "report": "report.html",
}
ROW = {
    "row": 12,
    "name": "tokens",
    "value": 1.5,
    "unit": "1/s",
    "ratio": None,
    "target": None,
    "status": "met",
    "why": "",
}
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("evaluation", EVALUATION),
    ("evaluation", {**EVALUATION, **MEASURED}),
    ("summary", {**EVALUATION, **RUN}),
    ("summary", {**RUN, "decision": "failed", "lineage": None, "report": None}),
    ("score_output", {"id": 7, "rewards": [0.5, -1], "truncated": [False, True], "model": "reward-model/3"}),
    ("score_output", {"rewards": None, "error": "the line is blank"}),
    ("rewards_request", {"prompt": "a", "responses": ["b", ""]}),
    ("rewards_request", {"prompt": [{"role": "user", "content": ""}], "responses": ["b"]}),
    (
        "rewards_response",
        {"rewards": [0.5], "ranks": [1], "best": 0, "truncated": [False], "num_tokens": [9], "model": "a/1"},
    ),
    (
        "rewards_partial",
        {"rewards": [0.5, None], "truncated": [False] * 2, "num_tokens": [9, 0], "errors": [], "model": "a/1"},
    ),
    ("benchmark", {"machine": {"cores": 2}, "versions": {"numpy": "2"}, "rows": [ROW]}),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured(Report):
    """A number of a test.

    More about it.
    """

    value: Annotated[Share | None, "Share."]
    pair: tuple[Count, Count]
    kind: Literal["a", "b"] = "a"
    note: str | None = optional()
    more: dict[str, bool] = field(default_factory=dict)
    free: Mapping[str, object] = field(default_factory=dict)


def schema(name: str) -> Any:
    return read_json(FOLDER / f"{name}.schema.json")


def valid(name: str, value: object) -> bool:
    return jsonschema.Draft202012Validator(schema(name)).is_valid(value)


def without_each_key(value: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the value without one of its keys, at any depth of objects."""
    for key, inner in value.items():
        yield "/".join((*path, key)), {name: rest for name, rest in value.items() if name != key}
        if isinstance(inner, dict):
            for name, smaller in without_each_key(inner, (*path, key)):
                yield name, {**value, key: smaller}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_schemas_are_schemas_and_have_an_example(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(read_json(path))
    assert path.name.removesuffix(".schema.json") in {name for name, _ in EXAMPLES}


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_examples_are_valid_and_unknown_keys_only_refused_in_requests(name: str, example: dict[str, Any]) -> None:
    jsonschema.validate(example, schema(name))
    assert valid(name, {**example, "more": 1}) == (name != "rewards_request")


OPTIONAL = re.compile(
    r"id|subsets/chat|metrics/(ece|spearman|length_correlation)/.*|(seconds|versions|lineage|machine)/.*"
)


@pytest.mark.parametrize(("name", "example"), [pair for pair in EXAMPLES if "baselines" not in pair[1]])
def test_each_required_key_is_required(name: str, example: dict[str, Any]) -> None:
    for key, smaller in without_each_key(example):
        assert valid(name, smaller) == bool(OPTIONAL.fullmatch(key)), key


def test_what_an_evaluation_may_add_has_its_form_too() -> None:
    for name, value in MEASURED.items():
        assert valid("evaluation", {**EVALUATION, name: value})
        assert not valid("evaluation", {**EVALUATION, name: "a"})
    for key in ("model", "accuracy", "difference"):
        champion = {name: value for name, value in MEASURED["champion"].items() if name != key}
        assert not valid("evaluation", {**EVALUATION, "champion": champion})


@pytest.mark.parametrize("key", sorted(ROW))
def test_each_key_of_a_benchmark_row_is_required(key: str) -> None:
    row = {name: value for name, value in ROW.items() if name != key}
    assert not valid("benchmark", {"machine": {}, "versions": {}, "rows": [row]})


def test_a_row_that_was_not_run_has_no_value_but_a_reason() -> None:
    skipped = {**ROW, "status": "not_run", "value": None, "why": "no GPU"}
    for row, good in ((skipped, True), ({**skipped, "why": ""}, False), ({**ROW, "value": None}, False)):
        assert valid("benchmark", {"machine": {}, "versions": {}, "rows": [row]}) == good


def test_wrong_values_are_refused() -> None:
    assert not valid("evaluation", {**EVALUATION, "subsets": {"chat": {"accuracy": 0.5}}})
    assert not valid("summary", {**EVALUATION, **RUN, "decision": "maybe"})
    assert not valid("summary", {**RUN, "decision": "rejected"})
    assert not valid("score_output", {"rewards": None, "truncated": [], "model": "a/1"})
    assert not valid("score_output", {"rewards": [1.0], "truncated": [False], "model": "a/1", "error": "b"})
    assert not valid("rewards_request", {"prompt": "a", "responses": []})
    assert not valid("rewards_request", {"prompt": [{"role": "judge", "content": ""}], "responses": ["a"]})


@pytest.mark.parametrize(("name", "made"), golden_schemas.schemas().items())
def test_schemas_of_reports_are_made_from_their_types(name: str, made: golden_schemas.Schema) -> None:
    """`python -m tests.golden_schemas` writes them."""
    assert golden_schemas.path(name).read_text(encoding="utf-8") == golden_schemas.text(made)


def test_a_schema_says_what_a_type_says() -> None:
    known: golden_schemas.Schema = {}
    assert golden_schemas.schema(tuple[Measured, ...] | None, known) == {
        "type": ["array", "null"],
        "items": {"$ref": "#/$defs/Measured"},
    }
    assert golden_schemas.schema(Measured | None, known) == {"anyOf": [{"$ref": "#/$defs/Measured"}, {"type": "null"}]}
    assert known["Measured"] == {
        "description": "A number of a test.",
        "type": "object",
        "required": ["value", "pair"],
        "properties": {
            "value": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "description": "Share."},
            "pair": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2},
            "kind": {"enum": ["a", "b"]},
            "note": {"type": "string"},
            "more": {"type": "object", "additionalProperties": {"type": "boolean"}},
            "free": {"type": "object"},
        },
    }


def test_a_summary_holds_what_an_evaluation_does() -> None:
    evaluation, summary = schema("evaluation"), schema("summary")
    assert summary["else"] == {key: evaluation[key] for key in ("required", "properties")}
    assert summary["$defs"] == evaluation["$defs"]
