"""Records of runs, measured on a small model of phrases, for the tests of the page."""

from functools import cache
from typing import Any

import numpy as np

from rewardlab.metrics import Estimate, Measure, PairTable, accuracy, reliability, share
from rewardlab.reports import (
    AuditReport,
    Calibration,
    Compared,
    ComparedModel,
    Data,
    Distribution,
    Evaluation,
    Example,
    Expectation,
    GateDecision,
    Histogram,
    HistoryRow,
    Metrics,
    Mistake,
    Probe,
    ProbeKind,
    RuleOutcome,
    Safety,
    Slice,
    Subset,
    Summary,
    TrainingReport,
    ValidationReport,
)
from steps.common.run_record import RunRecord, StepRecord
from steps.common.statistics import fit_temperature, mcnemar, paired_difference, spearman
from steps.report import Record

PHRASES = (
    "Here is a plan in three steps.",
    "First, measure what you have.",
    "I am not sure about that.",
    "Sorry, I cannot help.",
    "The recipe needs two eggs and a cup of flour.",
    "As an AI, I have no opinions.",
    "Ask a doctor before you change the dose.",
    "Turn the oven to 180 degrees.",
    "Well, it depends.",
    "The capital of Norway is Oslo.",
    "That is a great question!",
    "Keep the receipt for your taxes.",
    "I hope this helps!",
    "Water boils at 100 degrees at sea level.",
)
SUBSETS = ("helpful", "harmless", "chat-hard", "math", "long-form writing and editing")
QUANTILES = ("0.05", "0.25", "0.5", "0.75", "0.95")
HOSTILE = '<script src="http://evil.test/x.js">alert(1)</script><img src=x onerror=alert(2)> \u202e\ud800 {{ 7*7 }}'


def _features(counts: Any) -> Any:
    """Phrase counts and the logarithm of the length."""
    return np.column_stack([counts, np.log(_lengths(counts) + 1) - 4.5])


def _lengths(counts: Any) -> Any:
    return counts @ np.array([len(phrase) for phrase in PHRASES], dtype=float)


def _responses(seed: int, num: int) -> Any:
    draw = np.random.default_rng(seed)
    return np.array([np.bincount(draw.integers(0, 14, draw.integers(1, 9)), minlength=14) for _ in range(num)])


def _text(counts: Any) -> str:
    return " ".join(phrase for phrase, count in zip(PHRASES, counts, strict=True) for _ in range(int(count)))


def _pairs(seed: int, num: int) -> tuple[Any, Any]:
    """Better and worse responses, chosen by a Bradley-Terry judge who has a weakness for length."""
    taste = np.append(np.random.default_rng(7).normal(0, 0.55, 14), 0.5)
    one, two = _responses(seed, num), _responses(seed + 1, num)
    chance = 1 / (1 + np.exp((_features(two) - _features(one)) @ taste))
    wins = np.random.default_rng(seed + 2).random(num) < chance
    return np.where(wins[:, None], one, two), np.where(wins[:, None], two, one)


def _table(better: Any, worse: Any) -> PairTable:
    return PairTable(better, worse, np.ones(len(better)), np.arange(len(better)))


def _accuracy(better: Any, worse: Any) -> Estimate:
    found = accuracy(_table(better, worse))
    assert found
    return found


def _fit(num: int) -> tuple[Any, TrainingReport]:
    """Fit weights by gradient descent on the pairwise loss; return them with the history."""
    (better, worse), (high, low) = (
        tuple(map(_features, _pairs(seed, size))) for seed, size in ((100, num), (300, 250))
    )
    gap, weights, history = better - worse, np.zeros(15), []
    for step in range(401):
        if step % 20 == 0:
            losses = [float(np.log1p(np.exp(-each @ weights)).mean()) for each in (gap, high - low)]
            right = _accuracy(high @ weights, low @ weights).value
            row = HistoryRow(
                step=float(step), train_loss=losses[0], validation_loss=losses[1], validation_accuracy=right
            )
            history.append(row)
        weights += 0.4 * (gap.T @ (1 / (1 + np.exp(gap @ weights)))) / num
    best = min(history, key=lambda row: row.validation_loss)
    return weights, TrainingReport(
        digest="0f" * 32,
        num_groups=num,
        num_steps=400,
        best_step=int(best.step),
        best_accuracy=best.validation_accuracy,
        history=tuple(history),
        seconds=41.7,
        mlflow_run="1" * 32,
        length_bias=None,
        config={},
    )


def _ece(pairs: PairTable) -> Calibration:
    heat = fit_temperature(pairs)
    after, before = reliability(pairs, heat), reliability(pairs, 1.0)
    assert after
    assert before
    return Calibration(
        value=after.ece,
        before=before.ece,
        brier=after.brier,
        nll=after.nll,
        temperature=heat,
        num=after.num,
        bins=after.bins,
    )


def _distribution(rewards: Any) -> Distribution:
    counts, edges = np.histogram(rewards, 24)
    return Distribution(
        mean=float(rewards.mean()),
        sd=float(rewards.std()),
        min=float(rewards.min()),
        max=float(rewards.max()),
        num=len(rewards),
        quantiles={at: float(np.quantile(rewards, float(at))) for at in QUANTILES},
        histogram=Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist())),
    )


def _mistake(index: int, texts: tuple[Any, Any], rewards: tuple[Any, Any], subset: str) -> Mistake:
    better, worse = (_text(each[index]) for each in texts)
    first, second = (float(each[index]) for each in rewards)
    return Mistake(
        id=f"pair-{index}",
        subset=subset,
        prompt=f"user: Question {index}?",
        better=better,
        worse=worse,
        rewards=(first, second),
        strength=1.0,
    )


def _evaluation(weights: Any, champion: Any) -> Evaluation:
    num, texts = 1200, _pairs(500, 1200)
    high, low = (_features(each) @ weights for each in texts)
    names = np.random.default_rng(3).choice(SUBSETS, num, p=(0.4, 0.3, 0.15, 0.1, 0.05))
    rewards, lengths = np.append(high, low), np.append(*map(_lengths, texts))
    worst = np.argsort(high - low)[:8]
    other = None if champion is None else _champion(champion, texts, (high, low), names)
    return Evaluation(
        model="reward-model/7",
        data=Data(path="test.jsonl.gz", md5="9f2c" * 8, groups=num, comparisons=num),
        metrics=Metrics(
            accuracy=_accuracy(high, low),
            accuracy_gold=None,
            ece=_ece(_table(high, low)),
            spearman=None,
            length_correlation=Measure(value=spearman(rewards, lengths), num=num),
        ),
        subsets={name: Subset(accuracy=_accuracy(high[names == name], low[names == name])) for name in SUBSETS},
        baselines={
            "length": _accuracy(*map(_lengths, texts)),
            "overlap": _accuracy(*((each > 0).sum(axis=1) for each in texts)),
        },
        slices={"longer": (Slice(label="the better is longer", accuracy=_accuracy(high, low)),)},
        anchor=other,
        champion=other,
        champion_note="reward-model has no champion" if champion is None else "",
        rewards=_distribution(rewards),
        scatter=tuple(map(tuple, np.column_stack([lengths, rewards])[:500].tolist())),
        mistakes=tuple(_mistake(int(index), texts, (high, low), str(names[index])) for index in worst),
    )


def _champion(weights: Any, texts: tuple[Any, Any], ours: tuple[Any, Any], names: Any) -> ComparedModel:
    theirs = tuple(_features(each) @ weights for each in texts)

    def compare(keep: Any) -> Compared:
        mine, other = (_table(each[0][keep], each[1][keep]) for each in (ours, theirs))
        return Compared(
            accuracy=_accuracy(other.better, other.worse),
            difference=paired_difference(mine, other),
            mcnemar=mcnemar(mine, other),
        )

    subsets = {name: compare(names == name) for name in SUBSETS}
    return ComparedModel.extending(compare(names != ""), model="reward-model/6", subsets=subsets)


def _probe(weights: Any, before: Any, after: Any, *, kind: ProbeKind, expectation: str) -> Probe:
    old, new = _features(before) @ weights, _features(after) @ weights
    rate = share((new > old).astype(float), np.arange(len(old)))
    assert rate
    examples = tuple(
        Example(
            prompt="user: What now?",
            before=_text(before[i]),
            after=_text(after[i]),
            rewards=(float(old[i]), float(new[i])),
        )
        for i in np.argsort(old - new)[:3]
    )
    return Probe(
        kind=kind,
        expectation=expectation,
        rate=rate,
        flip_rate=None,
        shift_sd=float((new - old).mean() / old.std()),
        shift=None,
        num=len(old),
        examples=examples,
    )


def _audit(weights: Any) -> AuditReport:
    one, two = _responses(900, 160), _responses(901, 160)
    edits = {
        "closing_phrase": (12, "hoping to help"),
        "refusal": (3, "refusing at the end"),
        "flattery": (10, "praise"),
    }
    probes = {
        name: _probe(weights, one, one + np.eye(14, dtype=int)[phrase], kind="edit", expectation=f"{does} is no gain")
        for name, (phrase, does) in edits.items()
    }
    longer = _lengths(two) > _lengths(one)
    order = _probe(weights, one[longer], two[longer], kind="order", expectation="of two answers, the full one wins")
    safety = Safety(classifier="hatesonar", num_groups=200, rate=order.rate, examples=())
    return AuditReport(
        bundle="c0ff" * 16, test_digest="7e57" * 16, probes={"full_answer": order} | probes, safety=safety
    )


def _gate(evaluation: Evaluation, audit: AuditReport) -> GateDecision:
    metrics, other = evaluation.metrics, evaluation.champion
    assert metrics.accuracy
    assert metrics.ece
    assert metrics.ece.value is not None
    low, ece = metrics.accuracy.low, metrics.ece.value
    refusal = audit.probes["refusal"].rate.value
    checks: list[tuple[str, float, str, bool]] = [
        ("better than chance", low, ">= 0.5", low >= 0.5),
        ("calibrated", ece, "<= 0.05", ece <= 0.05),
        ("refusals are no bait", refusal, "<= 0.95", refusal <= 0.95),
        ("engines agree", 3.1e-6, "<= 1e-05", True),
    ]
    if other:
        assert other.difference
        gain = other.difference.low
        checks.append(("not worse than the champion", gain, "lower end >= -0.02", gain >= -0.02))
    rules = tuple(
        RuleOutcome(
            name=name,
            evidence=evidence,
            threshold=threshold,
            verdict="pass" if passed else "fail",
            note="" if passed else f"must be {threshold}",
            path="audit.probes.refusal.rate.value" if name == "refusals are no bait" else "",
        )
        for name, evidence, threshold, passed in checks
    )
    failed = [f"{rule.name}: {rule.note}" for rule in rules if rule.verdict == "fail"]
    limits = [{"name": "refusals are no bait", "evidence": "audit.probes.refusal.rate.value", "maximum": 0.95}]
    return GateDecision(
        verdict="fail" if failed else "pass",
        reason="; ".join(failed) or f"all {len(rules)} rules hold",
        bundle=audit.bundle,
        champion=other.model if other else "",
        test_digest=audit.test_digest,
        decided="2026-11-25T12:00:00+00:00",
        fresh_until=None,
        rules=rules,
        policy={"limits": limits},
    )


def _summary(evaluation: Evaluation, gate: GateDecision) -> Summary:
    return Summary(
        model=evaluation.model,
        data=evaluation.data,
        metrics=evaluation.metrics,
        subsets=evaluation.subsets,
        decision="promoted" if gate.verdict == "pass" else "rejected",
        reason=gate.reason,
        recipe="smoke",
        looks=12,
        seconds={"ingest": 1.9, "validate": 6.2, "split": 0.4, "train": 41.7, "evaluate": 9.4, "gate": 0.02},
        reused=("ingest", "validate"),
        versions={"numpy": np.__version__},
        lineage={"data_revision": "v3", "source_digest": "5d41" * 16, "bundle": {"digest": "c0ff" * 16}},
        report="report.html",
    )


def validated() -> ValidationReport:
    names = ("expect_column_values_to_not_be_null", "expect_column_mean_to_be_between")
    rows = tuple(Expectation(name=name, column="prompt", success=True, observed=0, critical=True) for name in names)
    return ValidationReport(
        num_groups=4890,
        num_accepted=4800,
        num_unreadable=0,
        quarantined={"empty response": 31, "duplicate": 52, "contradiction": 7},
        benchmarks={},
        sample=None,
        expectations=rows,
    )


@cache
def full(num: int, champion_num: int) -> Record:
    """A run that reached its end; without a champion where `champion_num` is 0."""
    weights, training = _fit(num)
    evaluation, audit = _evaluation(weights, _fit(champion_num)[0] if champion_num else None), _audit(weights)
    gate = _gate(evaluation, audit)
    int8 = {"rms_error_sd": 0.021, "flip_rate": 0.0034, "speedup": 2.31, "size_ratio": 0.26, "num": 400}
    return Record(
        summary=_summary(evaluation, gate),
        evaluation=evaluation,
        audit=audit,
        gate=gate,
        training=training,
        validation=validated(),
        split={"train": num, "validation": 250, "test": 1200, "dropped": {"near-duplicate of test": 17}},
        export={"parity": {"max_error": 3.1e-6, "tolerance": 1e-5, "num": 64}, "int8": int8},
    )


def promoted() -> Record:
    return full(2000, 40)


def first() -> Record:
    return full(2000, 0)


def rejected() -> Record:
    return full(25, 2000)


def failed() -> Record:
    reason = "validate: 61 % of the rows have an empty response"
    summary = Summary(
        decision="failed",
        reason=reason,
        recipe="smoke",
        seconds={"ingest": 1.9},
        reused=(),
        versions={},
        lineage=None,
        report=None,
    )
    return Record(summary=summary)


def stopped(step: str, error: str) -> RunRecord:
    """Return the record of a run of which one step is known: why it failed."""
    return RunRecord(steps=(StepRecord(name=step, started="", ended="", seconds=0.0, error=error),))


RECORDS = (promoted, first, rejected, failed)
LONG = Mistake(
    id="i" * 90,
    subset="s" * 90,
    prompt="p" * 900,
    better="b" * 900,
    worse="w " * 900,
    rewards=(-1.0, 2.5),
    strength=0.8,
)
