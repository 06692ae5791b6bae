"""The audit's rates, recomputed from raw rewards, and what its edits do."""

import doctest
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from pipelines.recipes import RECIPES, recipe
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.files import file_digest, read_groups, read_json, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.metrics import wilson
from steps.audit import PROBES, AuditConfig, audit, edits
from steps.audit.audit import Pair, sample
from steps.audit.edits import EDITS, Answer
from steps.audit.orders import ORDERS, SWAPS
from steps.audit.safety import SafetyConfig, classify, disagreement
from steps.common import rewording

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


@pytest.fixture(scope="module")
def pairs(splits: Path) -> list[Pair]:
    """Return the sample, which is seeded."""
    return sample(read_groups(splits / "test.jsonl.gz"), CONFIG)


def rate(shifts: list[float]) -> float:
    return float(np.mean([1.0 if shift > 0 else 0.5 if shift == 0 else 0.0 for shift in shifts]))


def test_every_probe_is_there_and_about_this_bundle(findings: dict[str, Any], tiny_bundle: Path, splits: Path) -> None:
    assert list(findings["probes"]) == sorted(PROBES)
    assert findings["bundle"] == Bundle.open(tiny_bundle).digest
    assert findings["test_digest"] == file_digest(splits / "test.jsonl.gz")
    assert {len(probe["examples"]) for probe in findings["probes"].values()} == {2}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gates_every_probe(name: str) -> None:
    assert {*PROBES} <= {audit.probe for audit in recipe(name).gate.audits}


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
def test_rates_of_edits(name: str, findings: dict[str, Any], engine: Engine, pairs: list[Pair]) -> None:
    probe, edit, rows = findings["probes"][name], EDITS[name], []
    for at, pair in enumerate(pairs):
        text = pair.worst if edit.kind == "gaming" else pair.best
        other = pairs[at - len(pairs) // 2 - 1].best
        changed = edit.apply(Answer(text, pair.prompt[-1].content, other))
        rows.append(engine.score(pair.prompt, [pair.best, pair.worst, text, changed]).rewards)
    best, worst, before, after = np.array(rows).T
    shift = before - after if edit.kind == "broken" else after - before
    assert (probe["num"], probe["rate"]["value"]) == (15, pytest.approx(rate(shift.tolist())))
    assert probe["shift"]["value"] == pytest.approx(shift.mean() / engine.bundle.calibration.sd, rel=1e-5, abs=1e-6)
    if shift.std() > 0:
        drawn = stats.bootstrap((shift,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
        ends = np.array([probe["shift"]["low"], probe["shift"]["high"]]) * engine.bundle.calibration.sd
        assert ends == pytest.approx([drawn.low, drawn.high], abs=0.15 * shift.std() + 1e-9)
    if edit.kind != "broken":
        flips = (after > best) if edit.kind == "gaming" else (after < worst)
        assert probe["flip_rate"]["value"] == pytest.approx(flips[best > worst].mean())


@pytest.mark.parametrize("name", SWAPS)
def test_a_swap_changes_whom_it_names_and_nothing_else(name: str, findings: dict[str, Any], engine: Engine) -> None:
    probe, rows = findings["probes"][name], SWAPS[name].rows
    assert len({(first[-20:], second[-20:]) for _, first, second in rows}) == len(rows)
    assert all(first[-20:] == second[-20:] and first != second for _, first, second in rows)
    shifts = [first - second for first, second in (engine.score(request, texts).rewards for request, *texts in rows)]
    assert (probe["kind"], probe["rate"]["value"]) == ("swap", pytest.approx(rate(shifts)))


@pytest.mark.parametrize(("module", "kinds"), [(rewording, {"kept"}), (edits, {"gaming", "broken"})])
def test_the_examples_of_the_edits_run(module: ModuleType, kinds: set[str]) -> None:
    found = doctest.testmod(module)
    functions = [getattr(module, name) for name, edit in EDITS.items() if edit.kind in kinds]
    assert (found.failed, found.attempted) == (0, len(functions))
    assert all(function.__doc__ for function in functions)


def test_an_edit_is_the_same_each_time_and_copes_with_little() -> None:
    for edit in EDITS.values():
        for text in ("", "a", "It is 4.", "one two\nthree " * 40):
            assert edit.apply(Answer(text, "p", "o")) == edit.apply(Answer(text, "p", "o"))


def test_there_are_probes_enough() -> None:
    assert len(PROBES) == len(set(PROBES)) >= 24


def test_a_classifier_is_held_beside_the_reward(tiny_bundle: Path, splits: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    from models.tiny import byte_tokenizer

    words = byte_tokenizer(("[PAD]",))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"safe": 0, "unsafe": 1}
    config = BertConfig(vocab_size=260, label2id=labels, id2label={v: k for k, v in labels.items()}, **sizes)
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "c")
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", model_max_length=512).save_pretrained(
        tmp_path / "c"
    )
    safety = SafetyConfig(classifier=str(tmp_path / "c"), unsafe_label="unsafe", num_groups=20, gap=0.0)
    bundle, groups = Bundle.open(tiny_bundle), list(read_groups(splits / "test.jsonl.gz"))
    found = disagreement(safety, bundle, groups)
    unsafe = classify(safety, [text for group in groups[:20] for text in group.responses])
    rewards = np.array(
        [r for s in Engine(bundle).score_many([(g.prompt, g.responses) for g in groups[:20]]) for r in s]
    )
    sides = [np.sign((rewards[i] - rewards[j]) * (unsafe[i] - unsafe[j]))
             for at in range(0, 80, 4) for i, j in combinations(range(at, at + 4), 2)]  # fmt: skip
    assert found.rate is not None
    assert found.rate.value == pytest.approx(np.mean([side > 0 for side in sides]), abs=0.01)
    with pytest.raises(ValueError, match="has no label 'toxic': it has safe, unsafe"):
        classify(replace(safety, unsafe_label="toxic"), ["a"])


def test_without_a_named_classifier_the_small_one_is_held_beside_the_reward(
    findings: dict[str, Any], engine: Engine, splits: Path
) -> None:
    groups = list(read_groups(splits / "test.jsonl.gz"))
    assert findings["safety"] == {"classifier": "hatesonar", "num_groups": len(groups), "rate": None, "examples": []}
    rude = [
        PreferenceGroup(id=group.id, prompt=group.prompt, responses=(group.responses[0], "You stupid fucking idiot."))
        for group in groups[:30]
    ]
    found = disagreement(SafetyConfig(), engine.bundle, rude)
    wins = [given.rewards[1] > given.rewards[0] for given in engine.score_many([(g.prompt, g.responses) for g in rude])]
    assert 0 < sum(wins) < 30
    assert found.rate is not None
    assert found.rate.value == pytest.approx(np.mean(wins))
    assert len(found.examples) == min(5, sum(wins))
    assert all(each.unsafe[1] > 0.5 + each.unsafe[0] and each.shift > 0 for each in found.examples)
    with pytest.raises(ValueError, match="give both"):
        SafetyConfig(classifier="x")


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
    assert read_json(tmp_path / "audit.json")["probes"]["whitespace"]["examples"][0]["before"] == "c"
