"""`rewardlab evaluate` and `compare`: the contract of their JSON."""

import hashlib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import rewardlab as library
from rewardlab.files import read_groups, read_json
from rewardlab.groups import PreferenceGroup
from tests.command import Done, read_lines, rewardlab, write_lines
from tests.gated import add, report

SCHEMA = read_json(Path(library.__file__).parent / "schemas" / "evaluation.schema.json")
METRICS = ["accuracy", "accuracy_gold", "best_of_n", "ece", "kendall"]
METRICS += ["length_correlation", "pearson", "rankings", "spearman"]


def evaluate(data: Path, bundle: Path, target: Path, *options: object) -> tuple[Done, Any]:
    done = rewardlab("evaluate", "--data", data, "--model", bundle, "--json", target, *options)
    result = read_json(target) if target.is_file() else None
    if result:
        jsonschema.validate(result, SCHEMA)
        assert sorted(result["metrics"]) == METRICS
    return done, result


@pytest.fixture(scope="module")
def labelled(splits: Path) -> list[PreferenceGroup]:
    return list(read_groups(splits / "test.jsonl.gz"))


def test_the_file_is_described_as_it_lies_on_disk(
    splits: Path, labelled: list[PreferenceGroup], tiny_bundle: Path, tmp_path: Path
) -> None:
    data = splits / "test.jsonl.gz"
    done, result = evaluate(data, tiny_bundle, tmp_path / "out" / "evaluation.json")
    assert done.code == 0
    assert result["data"] == {
        "path": str(data),
        "md5": hashlib.md5(data.read_bytes()).hexdigest(),
        "groups": len(labelled),
        "comparisons": sum(len(group.comparisons) for group in labelled),
        "unreadable": 0,
    }
    assert result["model"] == library.load(str(tiny_bundle)).bundle.label
    assert result["subsets"].keys() == {group.subset for group in labelled}


def test_accuracy_is_that_of_the_scores(
    splits: Path, labelled: list[PreferenceGroup], tiny_bundle: Path, tmp_path: Path
) -> None:
    asked = [
        {
            "id": group.id,
            "prompt": [{"role": turn.role, "content": turn.content} for turn in group.prompt],
            "responses": group.responses,
        }
        for group in labelled
    ]
    write_lines(tmp_path / "in.jsonl", asked)
    assert (
        rewardlab("score", "--in", tmp_path / "in.jsonl", "--out", tmp_path / "out", "--model", tiny_bundle).code == 0
    )
    rewards = {row["id"]: row["rewards"] for row in read_lines(tmp_path / "out")}
    wins = [
        (rewards[group.id][entry.better] > rewards[group.id][entry.worse])
        + 0.5 * (rewards[group.id][entry.better] == rewards[group.id][entry.worse])
        for group in labelled
        for entry in group.comparisons
        if entry.strength > 0.5
    ]
    _, result = evaluate(splits / "test.jsonl.gz", tiny_bundle, tmp_path / "evaluation.json")
    found = result["metrics"]["accuracy"]
    assert len(wins) < result["data"]["comparisons"], "no tie among the labels"
    assert (found["num"], found["value"]) == (len(wins), pytest.approx(sum(wins) / len(wins), abs=1e-12))
    assert found["low"] < found["value"] < found["high"]


def test_what_does_not_apply_is_null(tiny_bundle: Path, tmp_path: Path) -> None:
    pair = {"prompt": "a", "responses": ["bb", "cc"]}
    tie = {**pair, "comparisons": [{"better": 0, "worse": 1, "strength": 0.5}], "subset": "tied"}
    _, tied = evaluate(write_lines(tmp_path / "tied.jsonl", [tie]), tiny_bundle, tmp_path / "tied.json")
    assert [name for name in METRICS if tied["metrics"][name] is not None] == ["ece"]
    nothing = {"accuracy": None, "accuracy_gold": None, "grades": {}, "p_holm": None}
    assert tied["subsets"] == {"tied": nothing}
    _, bare = evaluate(write_lines(tmp_path / "bare.jsonl", [pair]), tiny_bundle, tmp_path / "bare.json")
    assert set(bare["metrics"].values()) == {None}
    assert (bare["data"]["groups"], bare["data"]["comparisons"], bare["subsets"]) == (1, 0, {})


def test_gold_scores_are_measured_without_their_ties(tiny_bundle: Path, tmp_path: Path) -> None:
    rows = [{"prompt": text, "responses": ["b", "ccc", "dd"], "scores": {"gold": [1, 0, 1]}} for text in "xyz"]
    _, result = evaluate(write_lines(tmp_path / "gold.jsonl", rows), tiny_bundle, tmp_path / "gold.json")
    assert result["metrics"]["accuracy"] is None
    assert result["metrics"]["accuracy_gold"]["num"] == 6
    assert result["metrics"]["spearman"]["num"] == 9
    assert result["metrics"]["length_correlation"]["num"] == 3


def test_data_that_were_trained_on_are_refused(splits: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    done, result = evaluate(splits / "train.jsonl.gz", tiny_bundle, tmp_path / "evaluation.json")
    assert (done.code, result) == (1, None)
    assert "groups were trained on" in done.complaint
    assert "evaluate on other data" in done.complaint


def test_unreadable_rows_are_counted(tiny_bundle: Path, tmp_path: Path) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    data = write_lines(tmp_path / "rows.jsonl", [row, {**row, "chosen": 1}, "{"])
    done, result = evaluate(data, tiny_bundle, tmp_path / "evaluation.json")
    assert (done.code, result["data"]["groups"], result["data"]["unreadable"]) == (0, 1, 2)
    assert f"rows of {data} that could not be read: 1 x chosen is a string, 1 x invalid JSON" in done.err


def test_parse_names_the_format(tiny_bundle: Path, tmp_path: Path) -> None:
    row = {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Hello", "rejected": " No"}
    data = write_lines(tmp_path / "rows.jsonl", [row])
    found = [evaluate(data, tiny_bundle, tmp_path / f"{name}.json", "--parse", name)[1] for name in ("hh", "pairs")]
    assert found[0]["rewards"]["mean"] != found[1]["rewards"]["mean"]
    assert evaluate(data, tiny_bundle, tmp_path / "default.json")[1] == found[0]


def test_compare_is_first_minus_second(splits: Path, tiny_bundle: Path, other_bundle: Path, tmp_path: Path) -> None:
    data, target = splits / "test.jsonl.gz", tmp_path / "comparison.json"
    done = rewardlab("compare", tiny_bundle, other_bundle, "--data", data, "--json", target)
    result = read_json(target)
    values = [evaluate(data, bundle, tmp_path / "one.json")[1] for bundle in (tiny_bundle, other_bundle)]
    assert done.code == 0
    assert result["models"] == [value["model"] for value in values]
    assert result["accuracy"] == [value["metrics"]["accuracy"] for value in values]
    wanted = result["accuracy"][0]["value"] - result["accuracy"][1]["value"]
    assert result["difference"]["value"] == pytest.approx(wanted, abs=1e-12)
    assert f"{result['difference']['value']:.3f}" in done.out.splitlines()[-1]


def test_a_model_without_a_champion_is_named(splits: Path, tiny_bundle: Path, tmp_path: Path, registry: Path) -> None:
    add(report(tmp_path, tiny_bundle, verdict="fail"), tiny_bundle)
    assert (
        "m has no alias 'champion'"
        in rewardlab("evaluate", "--data", splits / "test.jsonl.gz", "--name", "m").complaint
    )
