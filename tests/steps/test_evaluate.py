"""The evaluation's numbers, recomputed from raw rewards with scipy, scikit-learn and statsmodels."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.files import file_digest, read_groups, read_json, write_groups
from rewardlab.groups import PreferenceGroup
from steps.evaluate import EvaluateConfig, evaluate
from steps.registry.client import champion_record, connect
from tests.gated import crown

SCHEMA = Path(__file__).parents[2] / "rewardlab" / "schemas" / "evaluation.schema.json"
CONFIG = EvaluateConfig(name="m")
Rewards = list[tuple[float, ...]]


@pytest.fixture(scope="module")
def test_file(splits: Path) -> Path:
    return splits / "test.jsonl.gz"


@pytest.fixture(scope="module")
def groups(test_file: Path) -> list[PreferenceGroup]:
    return list(read_groups(test_file))


@pytest.fixture(scope="module")
def rewards(tiny_bundle: Path, groups: list[PreferenceGroup]) -> Rewards:
    engine = Engine(Bundle.open(tiny_bundle))
    return [engine.score(group.prompt, group.responses).rewards for group in groups]


@pytest.fixture(scope="module")
def evaluation(tiny_bundle: Path, test_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    target = tmp_path_factory.mktemp("evaluation") / "evaluation.json"
    assert evaluate(CONFIG, tiny_bundle, test_file, target).digest == file_digest(target)
    result: dict[str, Any] = read_json(target)
    return result


def pairs(groups: list[PreferenceGroup], values: Rewards) -> list[tuple[float, float, float]]:
    """Return `(better's value, worse's value, strength)` of every comparison."""
    return [
        (given[entry.better], given[entry.worse], entry.strength)
        for group, given in zip(groups, values, strict=True)
        for entry in group.comparisons
    ]


def win_rate(rows: list[tuple[float, float, float]]) -> tuple[float, int]:
    decided = [(better, worse) for better, worse, strength in rows if strength > 0.5]
    wins = [1.0 if better > worse else 0.5 if better == worse else 0.0 for better, worse in decided]
    return sum(wins) / len(wins), len(wins)


def near(estimate: dict[str, Any], expected: tuple[float, int]) -> bool:
    return (estimate["value"], estimate["num"]) == (pytest.approx(expected[0]), expected[1])


def test_it_has_the_contracts_form(evaluation: dict[str, Any], test_file: Path, tiny_bundle: Path) -> None:
    jsonschema.validate(evaluation, read_json(SCHEMA))
    data = evaluation["data"]
    assert (data["md5"], evaluation["test_digest"]) == (file_digest(test_file, "md5"), file_digest(test_file))
    assert evaluation["bundle"] == Bundle.open(tiny_bundle).digest
    assert (evaluation["champion"], evaluation["champion_note"]) == (None, "m has no champion")


def test_accuracies(evaluation: dict[str, Any], groups: list[PreferenceGroup], rewards: Rewards) -> None:
    metrics, baselines = evaluation["metrics"], evaluation["baselines"]
    assert near(metrics["accuracy"], win_rate(pairs(groups, rewards)))
    gold = [
        (given[one], given[other], 1.0)
        for group, given in zip(groups, rewards, strict=True)
        for one, other in combinations(sorted(range(4), key=lambda at: -group.scores["gold"][at]), 2)
        if group.scores["gold"][one] > group.scores["gold"][other]
    ]
    assert near(metrics["accuracy_gold"], win_rate(gold))
    lengths = [tuple(float(len(text)) for text in group.responses) for group in groups]
    assert near(baselines["length"], win_rate(pairs(groups, lengths)))
    for name, measured in evaluation["subsets"].items():
        rows = [index for index, group in enumerate(groups) if group.subset == name]
        chosen = pairs([groups[index] for index in rows], [rewards[index] for index in rows])
        assert near(measured["accuracy"], win_rate(chosen))
    assert set(evaluation["subsets"]) == {group.subset for group in groups}


def test_the_interval_is_a_bootstrap_by_prompt(
    evaluation: dict[str, Any], groups: list[PreferenceGroup], rewards: Rewards
) -> None:
    each = [win_rate(pairs([group], [given])) for group, given in zip(groups, rewards, strict=True)]
    rates, sizes = (np.array(column) for column in zip(*each, strict=True))
    drawn = np.random.default_rng(1).integers(0, len(each), (4000, len(each)))
    means = (rates * sizes)[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    found = evaluation["metrics"]["accuracy"]
    assert (found["low"], found["high"]) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_one_comparison_a_prompt_takes_wilson(
    tiny_bundle: Path, groups: list[PreferenceGroup], rewards: Rewards, tmp_path: Path
) -> None:
    from statsmodels.stats.proportion import proportion_confint

    single = [replace(group, comparisons=group.comparisons[:1]) for group in groups]
    write_groups(tmp_path / "single.jsonl.gz", single)
    evaluate(CONFIG, tiny_bundle, tmp_path / "single.jsonl.gz", tmp_path / "out.json")
    found = read_json(tmp_path / "out.json")["metrics"]["accuracy"]
    value, num = win_rate(pairs(single, rewards))
    assert (found["low"], found["high"]) == pytest.approx(proportion_confint(value * num, num, method="wilson"))


def test_calibration(evaluation: dict[str, Any], groups: list[PreferenceGroup], rewards: Rewards) -> None:
    from scipy.special import expit
    from sklearn.metrics import log_loss  # type: ignore[import-untyped]

    found, rows = evaluation["metrics"]["ece"], np.array(pairs(groups, rewards))
    chance, strength = expit((rows[:, 0] - rows[:, 1]) / found["temperature"]), rows[:, 2]
    assert found["brier"] == pytest.approx(np.mean((chance - strength) ** 2))
    hard = np.array([1, 0] * len(rows))
    weight = np.stack([strength, 1 - strength], axis=1).ravel()
    assert found["nll"] == pytest.approx(log_loss(hard, np.repeat(chance, 2), sample_weight=weight, labels=[0, 1]))
    sure, right = np.maximum(chance, 1 - chance), np.where(chance >= 0.5, strength, 1 - strength)
    bin_of = np.minimum((sure - 0.5) * 30, 14).astype(int)
    gaps = [abs((sure - right)[bin_of == at].sum()) for at in range(15)]
    assert found["value"] == pytest.approx(sum(gaps) / len(rows))
    assert sum(each["num"] for each in found["bins"]) == found["num"] == len(rows)


def test_correlations(evaluation: dict[str, Any], groups: list[PreferenceGroup], rewards: Rewards) -> None:
    from scipy.stats import spearmanr

    metrics = evaluation["metrics"]
    ratings = np.concatenate([group.scores["gold"] for group in groups])
    agreement = {"value": pytest.approx(spearmanr(np.concatenate(rewards), ratings)[0]), "aspect": "gold"}
    assert metrics["spearman"] == {**agreement, "num": len(ratings)}
    each = [
        spearmanr(given, [len(text) for text in group.responses])[0]
        for group, given in zip(groups, rewards, strict=True)
        if len({len(text) for text in group.responses}) > 1
    ]
    lengths = metrics["length_correlation"]
    assert (lengths["value"], lengths["num"]) == (pytest.approx(np.mean(each)), len(each))
    assert lengths["low"] < lengths["value"] < lengths["high"]


def test_rewards_and_mistakes(evaluation: dict[str, Any], groups: list[PreferenceGroup], rewards: Rewards) -> None:
    flat, found = np.concatenate(rewards), evaluation["rewards"]
    assert (found["mean"], found["sd"], found["num"]) == (
        pytest.approx(flat.mean()),
        pytest.approx(flat.std()),
        len(flat),
    )
    assert sum(found["histogram"]["counts"]) == len(flat)
    gaps = sorted(better - worse for better, worse, strength in pairs(groups, rewards) if strength > 0.5)
    worst = [row["rewards"][0] - row["rewards"][1] for row in evaluation["mistakes"]]
    assert worst == pytest.approx(gaps[:20])
    assert max(worst) < 0


def test_two_runs_are_identical(evaluation: dict[str, Any], tiny_bundle: Path, test_file: Path, tmp_path: Path) -> None:
    evaluate(CONFIG, tiny_bundle, test_file, tmp_path / "again.json")
    assert read_json(tmp_path / "again.json") == evaluation


@pytest.mark.parametrize("parts", [("train",), ("test", "train")])
def test_groups_that_were_trained_on_are_refused(
    parts: tuple[str, ...], splits: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    mixed = [group for part in parts for group in list(read_groups(splits / f"{part}.jsonl.gz"))[:2]]
    write_groups(tmp_path / "mixed.jsonl.gz", mixed)
    with pytest.raises(ValueError, match=f"2 of {2 * len(parts)} groups were trained on"):
        evaluate(CONFIG, tiny_bundle, tmp_path / "mixed.jsonl.gz", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_an_empty_test_set_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    write_groups(tmp_path / "empty.jsonl.gz", [])
    with pytest.raises(ValueError, match="the test set is empty"):
        evaluate(CONFIG, tiny_bundle, tmp_path / "empty.jsonl.gz", tmp_path / "out.json")


def test_what_does_not_apply_is_null(tiny_bundle: Path, groups: list[PreferenceGroup], tmp_path: Path) -> None:
    empty: dict[str, Any] = {"comparisons": (), "votes": (), "scores": {}, "subset": ""}
    bare = [replace(group, **empty, responses=group.responses[:1]) for group in groups]
    write_groups(tmp_path / "bare.jsonl.gz", bare)
    evaluate(CONFIG, tiny_bundle, tmp_path / "bare.jsonl.gz", tmp_path / "out.json")
    found = read_json(tmp_path / "out.json")
    jsonschema.validate(found, read_json(SCHEMA))
    assert set(found["metrics"].values()) == {None}
    assert (found["subsets"], found["mistakes"]) == ({}, [])


def crowned(bundle: Path, test_digest: str, folder: Path) -> str:
    """Make a bundle champion of `m` and return its record."""
    crown(folder, bundle, test_digest=test_digest)
    record = champion_record(connect(), "m")
    assert record is not None
    return record.to_json()


def against(champion: str, bundle: Path, test_file: Path, folder: Path) -> dict[str, Any]:
    evaluate(CONFIG, bundle, test_file, folder / "out.json", champion=champion)
    result: dict[str, Any] = read_json(folder / "out.json")
    jsonschema.validate(result, read_json(SCHEMA))
    return result


def test_the_champion_is_measured_on_the_same_comparisons(  # noqa: PLR0913 (fixtures)
    registry: Path,
    tiny_bundle: Path,
    other_bundle: Path,
    test_file: Path,
    groups: list[PreferenceGroup],
    rewards: Rewards,
    tmp_path: Path,
) -> None:
    champion = crowned(other_bundle, file_digest(test_file), tmp_path)
    found = against(champion, tiny_bundle, test_file, tmp_path)["champion"]
    engine = Engine(Bundle.open(other_bundle))
    theirs = [engine.score(group.prompt, group.responses).rewards for group in groups]
    ours, other = win_rate(pairs(groups, rewards)), win_rate(pairs(groups, theirs))
    assert (found["model"], found["bundle"]) == ("m/1", engine.bundle.digest)
    assert near(found["accuracy"], other)
    assert near(found["difference"], (ours[0] - other[0], ours[1]))
    assert found["difference"]["low"] < found["difference"]["value"] < found["difference"]["high"]


def test_a_candidate_that_is_the_champion_differs_by_nothing(
    registry: Path, tiny_bundle: Path, test_file: Path, tmp_path: Path
) -> None:
    champion = crowned(tiny_bundle, file_digest(test_file), tmp_path)
    found = against(champion, tiny_bundle, test_file, tmp_path)
    difference = found["champion"]["difference"]
    assert [difference[name] for name in ("value", "low", "high")] == [0, 0, 0]
    assert found["champion"]["bundle"] == found["bundle"]


def test_a_champion_of_another_test_set_counts_as_none(
    registry: Path, tiny_bundle: Path, other_bundle: Path, test_file: Path, tmp_path: Path
) -> None:
    champion = crowned(other_bundle, "another", tmp_path)
    found = against(champion, tiny_bundle, test_file, tmp_path)
    assert (found["champion"], found["champion_note"]) == (None, "m/1 was gated on another test set and counts as none")
