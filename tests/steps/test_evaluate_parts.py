"""Agreement, slices, McNemar and anchors: recomputed with scipy and statsmodels, or counted by hand."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from pipelines.recipes import recipe
from rewardlab.bundle import Bundle
from rewardlab.drift import drift
from rewardlab.files import file_digest, read_json, write_json
from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.metrics import PairTable, labelled_pairs
from rewardlab.reports import McNemar, RuleOutcome
from steps.common.statistics import kendall, mcnemar, pearson, spearman
from steps.evaluate import EvaluateConfig, evaluate
from steps.evaluate.agreement import best_of_n, borda, ranking_agreement, rating_agreement
from steps.evaluate.slices import slices
from steps.gate import BoundedDrift, GateConfig, decision, read_evidence
from steps.register import RegisterConfig, register
from steps.registry.client import connect, looks


def ranked(at: int, draw: np.random.Generator, **known: Any) -> PreferenceGroup:
    """Return a list of four whose every pair was judged, a third of them as ties."""
    comparisons = []
    for first, second in combinations(range(4), 2):
        better, worse = (first, second) if draw.random() < 0.5 else (second, first)
        comparisons.append(Comparison(better=better, worse=worse, strength=0.5 if draw.random() < 0.33 else 1.0))
    texts = tuple("word " * int(draw.integers(1, 60)) + str(index) for index in range(4))
    turns = (Message("user", f"q{at}"),)
    return PreferenceGroup(id=f"g{at}", prompt=turns, responses=texts, comparisons=tuple(comparisons), **known)


@pytest.fixture(scope="module")
def lists() -> tuple[list[PreferenceGroup], list[list[float]]]:
    draw = np.random.default_rng(5)
    groups = [ranked(at, draw, source="books" if at % 3 else "films") for at in range(120)]
    return groups, draw.normal(size=(120, 4)).round(1).tolist()


@pytest.mark.parametrize(
    ("ours", "scipys"), [(pearson, stats.pearsonr), (spearman, stats.spearmanr), (kendall, stats.kendalltau)]
)
def test_correlations_are_scipys(ours: Any, scipys: Any) -> None:
    draw = np.random.default_rng(1)
    first, second = draw.integers(0, 9, 200).astype(float), draw.integers(0, 4, 200).astype(float)
    assert ours(first, second) == pytest.approx(scipys(first, second).statistic, abs=1e-12)
    assert ours([1.0, 1.0], [1.0, 2.0]) is None


def test_borda_counts_wins_and_half_ties() -> None:
    entries = (
        Comparison(better=0, worse=1),
        Comparison(better=0, worse=2),
        Comparison(better=2, worse=1, strength=0.5),
    )
    group = PreferenceGroup(id="x", prompt=(Message("user", "a"),), responses=("a", "b", "c"), comparisons=entries)
    assert borda(group) == [2.0, 0.5, 0.5]
    partial = PreferenceGroup(id="x", prompt=group.prompt, responses=group.responses, comparisons=entries[:2])
    assert borda(partial) is None


def test_rankings_agree_as_scipy_says(lists: tuple[list[PreferenceGroup], list[list[float]]]) -> None:
    groups, rewards = lists
    found = ranking_agreement(groups, rewards)
    points = [[sum(e.strength if e.better == i else 1 - e.strength for e in g.comparisons if i in (e.better, e.worse))
               for i in range(4)] for g in groups]  # fmt: skip
    assert found is not None
    for name, scipys in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr), ("kendall", stats.kendalltau)):
        each = [
            scipys(given, known).statistic
            for given, known in zip(rewards, points, strict=True)
            if len(set(given)) > 1 and len(set(known)) > 1
        ]
        mean = getattr(found, name)
        assert (mean.value, mean.num) == (pytest.approx(np.mean(each)), len(each))
        assert mean.low < mean.value < mean.high
    assert ranking_agreement([], []) is None


def test_best_of_n_shares_ties(lists: tuple[list[PreferenceGroup], list[list[float]]]) -> None:
    groups, _ = lists
    three = [groups[0], groups[1], groups[2]]
    best = [[at for at, mark in enumerate(borda(g) or []) if mark == max(borda(g) or [])] for g in three]
    rewards = [[1.0 if at == best[0][0] else 0.0 for at in range(4)], [0.0] * 4, [0.0] * 4]
    rewards[2][next(at for at in range(4) if at not in best[2])] = 1.0
    found = best_of_n(three, rewards, "gold")
    assert found is not None
    assert found.value == pytest.approx((1 + len(best[1]) / 4 + 0) / 3)
    assert (found.chance, found.num) == (pytest.approx(np.mean([len(each) / 4 for each in best])), 3)


def test_ratings_of_another_aspect_are_no_truth(lists: tuple[list[PreferenceGroup], list[list[float]]]) -> None:
    assert set(rating_agreement(*lists, "gold").values()) == {None}


def test_slices_hold_every_decided_comparison_once(lists: tuple[list[PreferenceGroup], list[list[float]]]) -> None:
    groups, rewards = lists
    pairs = labelled_pairs(groups, rewards)
    decided, found = pairs.decided, slices(groups, pairs)
    for parts in found.values():
        assert sum(part.accuracy.num for part in parts) == len(decided.better)
        hits = sum(part.accuracy.value * part.accuracy.num for part in parts)
        assert hits == pytest.approx(decided.wins.sum())
    assert [part.label for part in found["domain"]] == ["books", "films"]
    sizes = [part.accuracy.num for part in found["margin"]]
    assert (len(sizes), max(sizes) - min(sizes)) == (10, 1)
    surest = np.sort(np.abs(decided.better - decided.worse))[-1]
    assert found["margin"][-1].label.endswith(f"{surest:.3g}")


def test_the_longer_side_is_the_better_ones(lists: tuple[list[PreferenceGroup], list[list[float]]]) -> None:
    groups, rewards = lists
    sizes = [
        (len(g.responses[e.better]), len(g.responses[e.worse]))
        for g in groups
        for e in g.comparisons
        if e.strength > 0.5
    ]
    longer = sum(better > worse and better - worse >= 0.1 * better for better, worse in sizes)
    found = {part.label: part.accuracy.num for part in slices(groups, labelled_pairs(groups, rewards))["longer"]}
    assert found["the better is longer"] == longer


def test_mcnemar_is_statsmodels() -> None:
    draw = np.random.default_rng(2)
    ones, zeros, where = np.ones(300), np.zeros(300), np.arange(300)
    ours, theirs = (PairTable(draw.choice([1.0, -1.0], 300, p=p), zeros, ones, where) for p in ([0.7, 0.3], [0.6, 0.4]))
    table = [[int(((ours.wins == i) & (theirs.wins == j)).sum()) for j in (1, 0)] for i in (1, 0)]
    found = mcnemar(ours, theirs)
    assert found is not None
    assert (found.better, found.worse) == (table[0][1], table[1][0])
    assert found.p_value == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    assert mcnemar(ours, ours) == McNemar(better=0, worse=0, p_value=1.0)


def registered(bundle: Path, folder: Path, *, test_digest: str, run_id: str) -> None:
    decision = {"verdict": "fail", "reason": "", "bundle": Bundle.open(bundle).digest, "test_digest": test_digest}
    write_json(folder / "gate.json", decision)
    register(RegisterConfig(name="m", run_id=run_id, lineage={}, data_md5="x"), bundle, {"gate": folder / "gate.json"})


def test_an_anchor_is_held_beside_the_candidate(
    registry: Path, splits: Path, tiny_bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    test = splits / "test.jsonl.gz"
    registered(other_bundle, tmp_path, test_digest="of another test set", run_id="r")
    evaluate(EvaluateConfig(name="m", anchor="1"), tiny_bundle, test, tmp_path / "out.json")
    found = read_json(tmp_path / "out.json")
    assert (found["anchor"]["model"], found["champion"]) == ("m/1", None)
    ours, theirs = found["metrics"]["accuracy"]["value"], found["anchor"]["accuracy"]["value"]
    assert found["anchor"]["difference"]["value"] == pytest.approx(ours - theirs)
    counts = found["anchor"]["mcnemar"]
    assert (counts["better"] - counts["worse"]) / found["metrics"]["accuracy"]["num"] == pytest.approx(ours - theirs)


def drift_rule(policy: GateConfig, folder: Path, bundle: Path, test: Path) -> RuleOutcome:
    """Return what the gate's rule on drift says of the evaluation in a folder."""
    reports = {name: folder / f"{name}.json" for name in ("evaluation", "audit", "export")}
    for name in ("audit", "export"):
        write_json(reports[name], {})
    about = {"bundle": Bundle.open(bundle).digest, "test_digest": file_digest(test), "champion": "", "data_time": ""}
    rules = decision(policy, read_evidence(reports, **about, now=datetime.now(UTC))).rules
    return next(rule for rule in rules if rule.name.startswith("not drifted down"))


def test_the_gates_anchor_is_the_one_setting(
    registry: Path, splits: Path, tiny_bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    test = splits / "test.jsonl.gz"
    registered(other_bundle, tmp_path, test_digest="of another test set", run_id="r")
    run = recipe("smoke", {"gate.drift": {"anchor": "m/1", "margin": 0.9}})
    evaluate(run.evaluate_config(), tiny_bundle, test, tmp_path / "evaluation.json")
    low = read_json(tmp_path / "evaluation.json")["anchor"]["difference"]["low"]
    found = drift_rule(run.gate, tmp_path, tiny_bundle, test)
    assert (found.verdict, found.evidence, found.note) == ("pass", low, "")
    strict = replace(run.gate, drift=BoundedDrift(anchor="m/1", margin=0.0))
    assert drift_rule(strict, tmp_path, tiny_bundle, test).verdict == ("pass" if low >= 0 else "fail")
    other = replace(run.gate, drift=BoundedDrift(anchor="m/2"))
    assert "did not compare with m/2" in drift_rule(other, tmp_path, tiny_bundle, test).note


def test_an_anchor_that_may_move_is_refused() -> None:
    with pytest.raises(ValueError, match="a version that stays"):
        EvaluateConfig(anchor="champion")


def test_looks_count_bundles_not_runs(registry: Path, tiny_bundle: Path, other_bundle: Path, tmp_path: Path) -> None:
    for bundle, test_digest, run_id in ((tiny_bundle, "t", "a"), (other_bundle, "t", "b"), (tiny_bundle, "t", "c")):
        registered(bundle, tmp_path, test_digest=test_digest, run_id=run_id)
    assert [looks(connect(), digest) for digest in ("t", "u")] == [2, 0]


def test_drift_is_from_the_bundles_reference(tiny_bundle: Path, splits: Path, tmp_path: Path) -> None:
    from rewardlab.engine import Engine
    from rewardlab.files import read_groups

    test, bundle = splits / "test.jsonl.gz", Bundle.open(tiny_bundle)
    evaluate(EvaluateConfig(name="m"), tiny_bundle, test, tmp_path / "out.json")
    scores = Engine(bundle).score_many([(group.prompt, group.responses) for group in read_groups(test)])
    wanted = drift(np.concatenate([each.rewards for each in scores]), bundle.calibration.reference)
    found = read_json(tmp_path / "out.json")
    assert wanted is not None
    assert found["drift"]["ks"] == pytest.approx(wanted.ks)
    assert (found["drift"]["num"], found["test_digest"]) == (wanted.num, file_digest(test))
