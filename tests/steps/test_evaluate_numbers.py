"""More numbers of an evaluation, recomputed: p-values, grades, baselines, quantiles, calibration before, slices."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.metrics import brier_score_loss, log_loss

from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.files import read_json
from rewardlab.groups import PreferenceGroup, prompt_text
from rewardlab.metrics import PairTable
from steps.common.statistics import chance_p_value, holm
from steps.evaluate.evaluate import EvaluateConfig, evaluate, in_fixed_order

Row = tuple[PreferenceGroup, int, int, float, float, float]


@pytest.fixture(scope="module")
def groups(splits: Path) -> list[PreferenceGroup]:
    from rewardlab.files import read_groups

    return in_fixed_order(read_groups(splits / "test.jsonl.gz"))


@pytest.fixture(scope="module")
def evaluation(tiny_bundle: Path, splits: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    target = tmp_path_factory.mktemp("numbers") / "evaluation.json"
    evaluate(EvaluateConfig(name="m", num_policy=2), tiny_bundle, splits / "test.jsonl.gz", target)
    found: dict[str, Any] = read_json(target)
    return found


@pytest.fixture(scope="module")
def rewards(tiny_bundle: Path, groups: list[PreferenceGroup]) -> list[tuple[float, ...]]:
    engine = Engine(Bundle.open(tiny_bundle))
    return [tuple(engine.score(group.prompt, group.responses).rewards) for group in groups]


@pytest.fixture(scope="module")
def rows(groups: list[PreferenceGroup], rewards: list[tuple[float, ...]]) -> list[Row]:
    """Return each decided comparison: group, better, worse, their rewards, and 1, 1/2 or 0 for right, tie or wrong."""
    found = []
    for group, given in zip(groups, rewards, strict=True):
        for entry in group.comparisons:
            if entry.strength > 0.5:
                better, worse = given[entry.better], given[entry.worse]
                right = 1.0 if better > worse else 0.5 if better == worse else 0.0
                found.append((group, entry.better, entry.worse, better, worse, right))
    return found


def test_quantiles_and_moments(evaluation: dict[str, Any], rewards: list[tuple[float, ...]]) -> None:
    flat, found = np.concatenate(rewards), evaluation["rewards"]
    for level, value in found["quantiles"].items():
        assert value == pytest.approx(stats.mstats.mquantiles(flat, float(level), alphap=1, betap=1)[0])
    assert (found["min"], found["max"]) == (min(flat), max(flat))
    edges = found["histogram"]["edges"]
    for low, high, count in list(zip(edges, edges[1:], found["histogram"]["counts"], strict=False))[:-1]:
        assert count == sum(low <= value < high for value in flat)


def test_calibration_before_the_temperature(
    evaluation: dict[str, Any], groups: list[PreferenceGroup], rewards: list[tuple[float, ...]]
) -> None:
    found = evaluation["metrics"]["ece"]
    table = [(given[e.better] - given[e.worse], e.strength)
             for group, given in zip(groups, rewards, strict=True) for e in group.comparisons]  # fmt: skip
    gap, strength = np.array(table).T
    hard, weight, twice = np.array([1, 0] * len(gap)), np.stack([strength, 1 - strength], axis=1).ravel(), expit(gap)
    assert found["nll_before"] == pytest.approx(log_loss(hard, np.repeat(twice, 2), sample_weight=weight))
    spread = float(np.mean(strength * (1 - strength)))  # of the labels themselves, which scikit-learn's score holds
    whole = brier_score_loss(hard, np.repeat(twice, 2), sample_weight=weight)
    assert found["brier_before"] == pytest.approx(whole - spread)
    sure, right = np.maximum(twice, 1 - twice), np.where(twice >= 0.5, strength, 1 - strength)
    bins, *_ = stats.binned_statistic(sure, sure - right, "sum", bins=15, range=(0.5, 1.0))
    assert found["before"] == pytest.approx(np.abs(bins).sum() / len(gap))


def test_overlap_prefers_the_words_of_the_prompt(evaluation: dict[str, Any], rows: list[Row]) -> None:
    def overlap(group: PreferenceGroup, at: int) -> float:
        words, known = group.responses[at].lower().split(), Counter(prompt_text(group.prompt).lower().split())
        return float(np.mean([known[word] > 0 for word in words])) if words else 0.0

    gaps = [overlap(group, better) - overlap(group, worse) for group, better, worse, *_ in rows]
    found = evaluation["baselines"]["overlap"]
    assert (found["value"], found["num"]) == (pytest.approx(np.mean((np.sign(gaps) + 1) / 2)), len(rows))


def test_ratings_agree_as_scipy_says(
    evaluation: dict[str, Any], groups: list[PreferenceGroup], rewards: list[tuple[float, ...]]
) -> None:
    flat, gold = np.concatenate(rewards), np.concatenate([group.scores["gold"] for group in groups])
    for name, scipys in (("pearson", stats.pearsonr), ("kendall", stats.kendalltau), ("spearman", stats.spearmanr)):
        assert evaluation["metrics"][name]["value"] == pytest.approx(scipys(flat, gold).statistic)


def test_grades_and_their_gold_pairs(
    evaluation: dict[str, Any], groups: list[PreferenceGroup], rewards: list[tuple[float, ...]]
) -> None:
    for name, measured in evaluation["subsets"].items():
        chosen = [pair for pair in zip(groups, rewards, strict=True) if pair[0].subset == name]
        for grade, found in measured["grades"].items():
            signs = [
                np.sign(given[i] - given[j]) * np.sign(group.scores["gold"][i] - group.scores["gold"][j])
                for group, given in chosen
                if group.meta["grade"] == grade
                for i in range(len(given))
                for j in range(i)
                if group.scores["gold"][i] != group.scores["gold"][j]
            ]
            assert (found["value"], found["num"]) == (pytest.approx(np.mean((np.array(signs) + 1) / 2)), len(signs))


def test_slices_by_length_and_domain(evaluation: dict[str, Any], rows: list[Row]) -> None:
    def mean_of(chosen: list[Row]) -> tuple[Any, int]:
        return pytest.approx(np.mean([row[-1] for row in chosen])), len(chosen)

    for part in evaluation["slices"]["length"]:
        low, _, high = part["label"].replace(" and more", " to 1000000").partition(" to ")
        longest = [row for row in rows if int(low) <= max(len(row[0].responses[at]) for at in row[1:3]) <= int(high)]
        assert (part["accuracy"]["value"], part["accuracy"]["num"]) == mean_of(longest)
    for part in evaluation["slices"]["domain"]:
        inside = [row for row in rows if (row[0].meta.get("domain") or row[0].source) == part["label"]]
        assert (part["accuracy"]["value"], part["accuracy"]["num"]) == mean_of(inside)
    order = sorted(rows, key=lambda row: abs(row[3] - row[4]))
    sizes = [part["accuracy"]["num"] for part in evaluation["slices"]["margin"]]
    for part, end in zip(evaluation["slices"]["margin"], np.cumsum(sizes).tolist(), strict=True):
        assert part["accuracy"]["value"] == mean_of(order[end - part["accuracy"]["num"] : end])[0]


def test_the_chance_p_value_is_a_sign_flip_of_prompts() -> None:
    draw = np.random.default_rng(4)
    right = draw.random(120) < 0.6
    pairs = PairTable(np.where(right, 1.0, 0.0), np.full(120, 0.5), np.ones(120), np.arange(120) // 2)
    excess = right.reshape(60, 2).mean(axis=1) - 0.5
    flips = (draw.choice([-1.0, 1.0], (20000, 60)) * excess).mean(axis=1)
    assert chance_p_value(pairs) == pytest.approx(np.mean(flips >= excess.mean() - 1e-12), abs=0.01)


def test_holm_is_its_formula() -> None:
    values = [0.01, None, 0.04, 0.03, 0.2]
    known = sorted(value for value in values if value is not None)
    stepped = [min(1.0, (4 - at) * value) for at, value in enumerate(known)]
    wanted = dict(zip(known, np.maximum.accumulate(stepped), strict=True))
    assert holm(values) == [None if value is None else pytest.approx(wanted[value]) for value in values]
    assert holm([None]) == [None]


def test_each_subset_has_its_corrected_p_value(evaluation: dict[str, Any]) -> None:
    assert all(1e-4 <= each["p_holm"] <= 1.0 for each in evaluation["subsets"].values())


def test_the_scatter_is_of_the_responses(
    evaluation: dict[str, Any], groups: list[PreferenceGroup], rewards: list[tuple[float, ...]]
) -> None:
    points = {
        (float(len(text)), reward)
        for group, given in zip(groups, rewards, strict=True)
        for text, reward in zip(group.responses, given, strict=True)
    }
    found = {(length, reward) for length, reward in evaluation["scatter"]}
    assert found <= points
    assert len(evaluation["scatter"]) == min(500, sum(map(len, rewards)))
