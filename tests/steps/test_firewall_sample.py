"""Suspected flips, languages and offensive words: against scipy, counts by hand, and planted rows."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from rewardlab.files import read_json, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from steps.toxicity import toxicity
from steps.validate import ValidateConfig, flips, validate
from steps.validate.check import Checker
from steps.validate.language import languages
from steps.validate.suite import sample_expectations

GOOD = ["apple", "brook", "cedar", "delta", "ember", "field", "grove", "heron", "ivory", "jewel"]
BAD = ["ashes", "bleak", "chaff", "drain", "erode", "fumes", "gloom", "husks", "idler", "junky"]
DUTCH = "Dit is een heel gewoon antwoord in het Nederlands, en niet in het Engels."


def answer(draw: random.Random, words: list[str]) -> str:
    return " ".join(draw.choices(words, k=3) + draw.choices(GOOD + BAD, k=9))


def pairs(num: int) -> list[PreferenceGroup]:
    """Return pairs whose better response has a few words more of the good kind, at a random place."""
    draw = random.Random(0)
    made = []
    for at in range(num):
        texts, better = (answer(draw, GOOD), answer(draw, BAD)), draw.randrange(2)
        made.append(
            PreferenceGroup(
                id=f"g{at}",
                prompt=(Message("user", f"Which of the two is the better answer to question {at}?"),),
                responses=texts if better == 0 else texts[::-1],
                comparisons=(Comparison(better=better, worse=1 - better),),
            )
        )
    return made


def flipped(group: PreferenceGroup) -> PreferenceGroup:
    (entry,) = group.comparisons
    return replace(group, comparisons=(replace(entry, better=entry.worse, worse=entry.better),))


def test_chances_are_of_a_model_that_has_not_seen_the_fold() -> None:
    draw = np.random.default_rng(0)
    features, folds = draw.normal([0.5, 0, 0, -0.2], size=(200, 4)), draw.integers(0, flips.FOLDS, 200)
    found = flips.cross_fitted(csr_matrix(features), folds)
    for fold in range(flips.FOLDS):
        seen, held = features[folds != fold], features[folds == fold]
        fit = minimize(
            lambda w, seen=seen: np.logaddexp(0, -seen @ w).sum() + w @ w / (2 * flips.STRENGTH), np.zeros(4), tol=1e-10
        )
        assert found[folds == fold] == pytest.approx(1 / (1 + np.exp(-held @ fit.x)), abs=2e-3)


def test_the_share_of_flips_is_the_disagreement_of_the_surest() -> None:
    chances = np.random.default_rng(1).beta(2, 1, 500)
    found = flips.judged(chances)
    surest = sorted(chances, key=lambda chance: -max(chance, 1 - chance))[:125]
    assert found.share == sum(chance < 0.5 for chance in surest) / 125
    least = sorted(range(500), key=lambda at: chances[at])[: round(500 * found.share)]
    assert set(np.flatnonzero(found.suspected)) == set(least)
    assert found.accuracy == pytest.approx(np.mean(chances > 0.5))


def test_of_labels_that_are_flipped_at_random_the_share_is_found() -> None:
    draw = np.random.default_rng(6)
    margins, flipped = draw.normal(2.0, 2.0, 20000), draw.random(20000) < 0.2
    chances = 1 / (1 + np.exp(-np.where(flipped, -1, 1) * np.abs(margins)))
    assert flips.judged(chances).share == pytest.approx(0.2, abs=0.01)


def test_planted_flips_are_found_where_the_model_knows_enough() -> None:
    groups = pairs(1000)
    clean = flips.pairs_of(groups)
    known = flips.suspicion(flips.features_of(clean), flips.folds_of(clean))
    assert known.accuracy >= 0.8
    turned = np.random.default_rng(2).random(len(groups)) < 0.2
    noisy = flips.pairs_of([flipped(group) if turn else group for group, turn in zip(groups, turned, strict=True)])
    found = flips.suspicion(flips.features_of(noisy), flips.folds_of(noisy)).suspected
    assert (found & turned).sum() >= 0.6 * turned.sum()
    assert (found & turned).sum() >= 0.6 * found.sum()
    power = flips.power(flips.features_of(clean), flips.folds_of(clean))
    assert min(power.recall, power.precision) >= 0.6
    assert power.lift == pytest.approx(power.precision / (power.planted / len(groups)))


def test_a_family_is_in_one_fold_and_so_is_a_prompt() -> None:
    groups = [replace(group, family=f"f{at % 7}") for at, group in enumerate(pairs(140))]
    folds = flips.folds_of(flips.pairs_of(groups))
    assert all(len(set(folds[at::7])) == 1 for at in range(7))
    same = flips.pairs_of([replace(group, prompt=groups[0].prompt) for group in pairs(140)])
    assert len(set(flips.folds_of(same))) == flips.FOLDS
    assert len(set(flips.folds_of(same[:5]))) == 1


def test_languages_and_offence_are_told() -> None:
    english = "This is quite an ordinary answer, and it is written in English."
    assert languages([english, DUTCH, "42", "Где находится ближайший вокзал?"]) == ["en", "nl", None, "ru"]
    kind, rude = toxicity([english, "You are a stupid fucking idiot."])
    assert kind < 0.3
    assert rude > 0.9
    assert len(toxicity([])) == 0


def test_the_sample_is_part_of_the_report(tmp_path: Path) -> None:
    groups = pairs(90)
    groups[4] = replace(groups[4], responses=(groups[4].responses[0], DUTCH))
    groups[5] = replace(groups[5], responses=("You are a stupid fucking idiot.", "Let us look at it together again."))
    groups[5] = replace(groups[5], comparisons=(Comparison(better=0, worse=1),))
    write_groups(tmp_path / "groups.jsonl.gz", groups)
    validate(ValidateConfig(num_sampled=1000, languages=("en",)), tmp_path, tmp_path / "out")
    written = read_json(tmp_path / "out" / "validation.json")
    observed = {each["name"]: (each["observed"], each["success"]) for each in written["expectations"]}
    assert written["sample"]["num"] == 90
    assert observed["offensive_responses_do_not_win"] == (1.0, False)
    assert observed["few_preferred_responses_are_offensive"] == (pytest.approx(1 / 90), True)
    assert observed["responses_are_in_the_prompts_language"][0] >= 1 / 90
    assert written["sample"]["languages"]["nl"] >= 1
    suspects = (tmp_path / "out" / "suspected.jsonl").read_text().count("\n")
    assert suspects == written["sample"]["flips"]["suspected"]
    assert "sample" in (tmp_path / "out" / "docs" / "index.html").read_text()


def test_a_sample_is_seeded_and_of_accepted_rows(tmp_path: Path) -> None:
    groups = [*pairs(60), replace(pairs(1)[0], id="bad", responses=("same", "same"))]
    write_groups(tmp_path / "groups.jsonl.gz", groups)
    config = ValidateConfig(num_sampled=30, max_quarantine_share=0.5)
    reports = [validate(config, tmp_path, tmp_path / name) for name in ("one", "two")]
    assert reports[0] == reports[1]
    assert read_json(tmp_path / "one" / "validation.json")["sample"]["num"] == 30


def test_what_could_not_be_told_of_any_row_has_no_verdict() -> None:
    told = {"foreign": [0.0, None], "mixed": [0.0, 1.0]}
    untold = {name: [None, None] for name in ("suspected", "toxic", "toxic_wins")}
    table = pd.DataFrame({**told, **untold}, dtype=float)
    found = [verdict.expectation for verdict in Checker().check("sample", table, sample_expectations())]
    assert {each.column: each.success for each in found} == {"foreign": True, "mixed": False}
