"""The audit's rates, recomputed from raw rewards, and what its edits do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.recipes import RECIPES, recipe
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.files import file_digest, read_groups, read_json, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.metrics import wilson
from steps.audit import EDITS, ORDERS, AuditConfig, audit

CONFIG = AuditConfig(num_answers=15, num_examples=2)


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine(Bundle.open(tiny_bundle))


@pytest.fixture(scope="module")
def findings(tiny_bundle: Path, splits: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    target = tmp_path_factory.mktemp("audit") / "audit.json"
    assert audit(CONFIG, tiny_bundle, splits / "test.jsonl.gz", target).digest == file_digest(target)
    result: dict[str, Any] = read_json(target)
    return result


def answers(splits: Path) -> list[tuple[tuple[Message, ...], str]]:
    """Return prompt and most preferred answer of the first test groups."""
    found = []
    for group in list(read_groups(splits / "test.jsonl.gz"))[:15]:
        wins = [0.0] * 4
        for entry in group.comparisons:
            wins[entry.better] += entry.strength
            wins[entry.worse] += 1 - entry.strength
        found.append((group.prompt, group.responses[wins.index(max(wins))]))
    return found


def rate(shifts: list[float]) -> float:
    return float(np.mean([1.0 if shift > 0 else 0.5 if shift == 0 else 0.0 for shift in shifts]))


def test_every_probe_is_there_and_about_this_bundle(findings: dict[str, Any], tiny_bundle: Path, splits: Path) -> None:
    assert set(findings["probes"]) == set(ORDERS) | set(EDITS)
    assert findings["bundle"] == Bundle.open(tiny_bundle).digest
    assert findings["test_digest"] == file_digest(splits / "test.jsonl.gz")
    assert {len(probe["examples"]) for probe in findings["probes"].values()} == {2}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gates_every_probe(name: str) -> None:
    assert {*ORDERS, *EDITS} <= {audit.probe for audit in recipe(name).gate.audits}


@pytest.mark.parametrize("name", ORDERS)
def test_rates_of_orders(name: str, findings: dict[str, Any], engine: Engine) -> None:
    probe = findings["probes"][name]
    scored = [engine.score(request, texts).rewards for request, *texts in ORDERS[name].rows]
    shifts = [better - worse for better, worse in scored]
    assert (probe["kind"], probe["num"]) == ("order", len(ORDERS[name].rows))
    assert probe["rate"]["value"] == pytest.approx(rate(shifts))
    assert (probe["rate"]["low"], probe["rate"]["high"]) == pytest.approx(wilson(rate(shifts), len(shifts)))
    assert probe["shift_sd"] == pytest.approx(np.mean(shifts) / engine.bundle.calibration.sd, rel=1e-5)


@pytest.mark.parametrize("name", EDITS)
def test_rates_of_edits(name: str, findings: dict[str, Any], engine: Engine, splits: Path) -> None:
    probe, edit = findings["probes"][name], EDITS[name].apply
    shifts = []
    for prompt, text in answers(splits):
        before, after = engine.score(prompt, [text, edit(prompt[-1].content, text)])
        shifts.append(after - before)
    assert (probe["kind"], probe["num"], probe["rate"]["value"]) == ("edit", 15, pytest.approx(rate(shifts)))
    example = probe["examples"][0]["rewards"]
    assert example[1] - example[0] == pytest.approx(max(shifts))


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_adds_to_the_answer(name: str) -> None:
    edited = EDITS[name].apply("What is 2 + 2?", "It is 4.")
    assert edited != "It is 4."
    assert "It is 4." in edited


def test_two_audits_are_identical(findings: dict[str, Any], tiny_bundle: Path, splits: Path, tmp_path: Path) -> None:
    audit(CONFIG, tiny_bundle, splits / "test.jsonl.gz", tmp_path / "again.json")
    assert read_json(tmp_path / "again.json") == findings


def test_a_test_set_without_an_answer_to_edit_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    write_groups(
        tmp_path / "bare.jsonl.gz", [PreferenceGroup(id="x", prompt=(Message("user", "Hi"),), responses=("a",))]
    )
    with pytest.raises(ValueError, match="holds no preferred answer"):
        audit(CONFIG, tiny_bundle, tmp_path / "bare.jsonl.gz", tmp_path / "audit.json")


def test_ties_do_not_choose_the_answer(tiny_bundle: Path, tmp_path: Path) -> None:
    comparisons = (
        Comparison(better=0, worse=1, strength=0.5),
        Comparison(better=2, worse=1),
        Comparison(better=2, worse=0),
    )
    prompt = (Message("user", "Hi"),)
    group = PreferenceGroup(id="x", prompt=prompt, responses=("a", "b", "c"), comparisons=comparisons)
    write_groups(tmp_path / "one.jsonl.gz", [group])
    audit(CONFIG, tiny_bundle, tmp_path / "one.jsonl.gz", tmp_path / "audit.json")
    assert read_json(tmp_path / "audit.json")["probes"]["flattery"]["examples"][0]["before"] == "c"
