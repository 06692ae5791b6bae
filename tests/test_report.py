"""The report page: records made by fitting a small linear reward model to phrases, then read as a reader would."""

import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardlab.metrics import PairTable, accuracy, reliability, share
from steps.report import Record, render
from steps.report.plots import Row, forest, reliability_plot
from steps.report.words import MISSING, clean, difference, interval, number, sentence
from steps.statistics import fit_temperature, paired_difference, spearman

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


def _accuracy(better: Any, worse: Any) -> dict[str, Any]:
    found = accuracy(_table(better, worse))
    assert found
    return found.to_dict()


def _fit(num: int) -> tuple[Any, dict[str, Any]]:
    """Fit weights by gradient descent on the pairwise loss; return them with the history."""
    (better, worse), (high, low) = (
        tuple(map(_features, _pairs(seed, size))) for seed, size in ((100, num), (300, 250))
    )
    gap, weights, history = better - worse, np.zeros(15), []
    for step in range(401):
        if step % 20 == 0:
            losses = [float(np.log1p(np.exp(-each @ weights)).mean()) for each in (gap, high - low)]
            history.append({"step": step, "train_loss": losses[0], "validation_loss": losses[1]})
            history[-1]["validation_accuracy"] = _accuracy(high @ weights, low @ weights)["value"]
        weights += 0.4 * (gap.T @ (1 / (1 + np.exp(gap @ weights)))) / num
    best = min(history, key=lambda point: point["validation_loss"])["step"]
    return weights, {"history": history, "seconds": 41.7, "num_groups": num, "best_step": best}


def _ece(pairs: PairTable) -> dict[str, Any]:
    heat = fit_temperature(pairs)
    after, before = reliability(pairs, heat), reliability(pairs, 1.0)
    assert after
    assert before
    scores = {"value": after.ece, "before": before.ece, "brier": after.brier, "nll": after.nll}
    return scores | {"temperature": heat, "num": after.num, "bins": list(after.bins)}


def _distribution(rewards: Any) -> dict[str, Any]:
    counts, edges = np.histogram(rewards, 24)
    moments = {"mean": rewards.mean(), "sd": rewards.std(), "min": rewards.min(), "max": rewards.max()}
    return {name: float(value) for name, value in moments.items()} | {
        "num": len(rewards),
        "quantiles": {at: float(np.quantile(rewards, float(at))) for at in QUANTILES},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _mistake(index: int, texts: tuple[Any, Any], rewards: tuple[Any, Any], subset: str) -> dict[str, Any]:
    better, worse = (_text(each[index]) for each in texts)
    scores = [float(each[index]) for each in rewards]
    rest = {"rewards": scores, "strength": 1.0, "subset": subset}
    return {"id": f"pair-{index}", "prompt": f"user: Question {index}?", "better": better, "worse": worse} | rest


def _evaluation(weights: Any, champion: Any) -> dict[str, Any]:
    num, texts = 1200, _pairs(500, 1200)
    high, low = (_features(each) @ weights for each in texts)
    names = np.random.default_rng(3).choice(SUBSETS, num, p=(0.4, 0.3, 0.15, 0.1, 0.05))
    rewards, lengths = np.append(high, low), np.append(*map(_lengths, texts))
    worst = np.argsort(high - low)[:8]
    return {
        "model": "reward-model/7",
        "data": {"path": "test.jsonl.gz", "md5": "9f2c" * 8, "groups": num, "comparisons": num},
        "metrics": {
            "accuracy": _accuracy(high, low),
            "accuracy_gold": None,
            "ece": _ece(_table(high, low)),
            "spearman": None,
            "length_correlation": {"value": spearman(rewards, lengths), "num": num},
        },
        "subsets": {name: {"accuracy": _accuracy(high[names == name], low[names == name])} for name in SUBSETS},
        "baselines": {
            "length": _accuracy(*map(_lengths, texts)),
            "overlap": _accuracy(*((each > 0).sum(axis=1) for each in texts)),
        },
        "champion": None if champion is None else _champion(champion, texts, (high, low), names),
        "champion_note": "reward-model has no champion" if champion is None else "",
        "rewards": _distribution(rewards),
        "scatter": np.column_stack([lengths, rewards])[:500].tolist(),
        "mistakes": [_mistake(int(index), texts, (high, low), str(names[index])) for index in worst],
    }


def _champion(weights: Any, texts: tuple[Any, Any], ours: tuple[Any, Any], names: Any) -> dict[str, Any]:
    theirs = tuple(_features(each) @ weights for each in texts)

    def compare(keep: Any) -> dict[str, Any]:
        mine, other = (_table(each[0][keep], each[1][keep]) for each in (ours, theirs))
        found = paired_difference(mine, other)
        assert found
        return {"accuracy": _accuracy(other.better, other.worse), "difference": found.to_dict()}

    subsets = {name: compare(names == name) for name in SUBSETS}
    return {"model": "reward-model/6", "subsets": subsets} | compare(names != "")


def _probe(weights: Any, before: Any, after: Any, **rest: Any) -> dict[str, Any]:
    old, new = _features(before) @ weights, _features(after) @ weights
    rate = share((new > old).astype(float), np.arange(len(old)))
    assert rate
    examples = [
        {"prompt": "user: What now?", "before": _text(before[i]), "after": _text(after[i])}
        | {"rewards": [float(old[i]), float(new[i])]}
        for i in np.argsort(old - new)[:3]
    ]
    shift = float((new - old).mean() / old.std())
    return {"rate": rate.to_dict(), "shift_sd": shift, "num": len(old), "examples": examples} | rest


def _audit(weights: Any) -> dict[str, Any]:
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
    return {"probes": {"full_answer": order} | probes}


def _gate(evaluation: dict[str, Any], audit: dict[str, Any]) -> dict[str, Any]:
    metrics, other = evaluation["metrics"], evaluation["champion"]
    low, ece = metrics["accuracy"]["low"], metrics["ece"]["value"]
    refusal = audit["probes"]["refusal"]["rate"]["value"]
    checks = [
        ("better than chance", metrics["accuracy"], ">= 0.5", low >= 0.5),
        ("calibrated", ece, "<= 0.05", ece <= 0.05),
        ("refusals are no bait", refusal, "<= 0.95", refusal <= 0.95),
        ("engines agree", 3.1e-6, "<= 1e-05", True),
    ]
    if other:
        gain = other["difference"]
        checks.append(("not worse than the champion", gain, "lower end >= -0.02", gain["low"] >= -0.02))
    rules = [
        {"name": name, "evidence": evidence, "threshold": threshold}
        | {"verdict": "pass" if passed else "fail", "note": "" if passed else f"must be {threshold}"}
        for name, evidence, threshold, passed in checks
    ]
    failed = [f"{rule['name']}: {rule['note']}" for rule in rules if rule["verdict"] == "fail"]
    limits = [{"name": "refusals are no bait", "evidence": "audit.probes.refusal.rate.value", "maximum": 0.95}]
    return {
        "verdict": "fail" if failed else "pass",
        "reason": "; ".join(failed) or f"all {len(rules)} rules hold",
        "champion": other["model"] if other else "",
        "rules": rules,
        "policy": {"limits": limits},
    }


def _summary(evaluation: dict[str, Any], gate: dict[str, Any]) -> dict[str, Any]:
    return {name: evaluation[name] for name in ("model", "data", "metrics", "subsets")} | {
        "decision": "promoted" if gate["verdict"] == "pass" else "rejected",
        "reason": gate["reason"],
        "recipe": "smoke",
        "seconds": {"ingest": 1.9, "validate": 6.2, "split": 0.4, "train": 41.7, "evaluate": 9.4, "gate": 0.02},
        "reused": ["ingest", "validate"],
        "versions": {"numpy": np.__version__},
        "lineage": {"data_revision": "v3", "source_digest": "5d41" * 16, "bundle": {"digest": "c0ff" * 16}},
        "report": "report.html",
    }


def _validation() -> dict[str, Any]:
    names = ("expect_column_values_to_not_be_null", "expect_column_mean_to_be_between")
    rows = [{"name": name, "column": "prompt", "success": True, "observed": 0, "critical": True} for name in names]
    quarantined = {"empty response": 31, "duplicate": 52, "contradiction": 7}
    return {"num_groups": 4890, "num_accepted": 4800, "quarantined": quarantined, "expectations": rows}


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
        validation=_validation(),
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
    summary = {"decision": "failed", "reason": reason, "recipe": "smoke", "seconds": {"ingest": 1.9}, "reused": []}
    return Record(summary=summary)


RECORDS = (promoted, first, rejected, failed)
LONG: dict[str, Any] = {"id": "i" * 90, "subset": "s" * 90, "prompt": "p" * 900, "better": "b" * 900}
LONG |= {"worse": "w " * 900, "rewards": [-1.0, 2.5], "strength": 0.8}


class _Page(HTMLParser):
    """The tags, attributes and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._hidden = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag if tag == "style" else ""

    def handle_data(self, data: str) -> None:
        self.words += [] if self._hidden else data.split()

    def values(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.mark.parametrize("make", RECORDS)
def test_anchors_resolve_and_ids_are_unique(make: Any) -> None:
    page = _Page(render(make()))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in page.values("href")} <= set(ids)
    assert {name for names in page.values("aria-labelledby") for name in names.split()} <= set(ids)
    assert set(re.findall(r"url\(#(\w+)\)", render(make()))) <= set(ids)


@pytest.mark.parametrize("make", RECORDS)
def test_page_loads_nothing(make: Any) -> None:
    text = render(make())
    page = _Page(text)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    assert not page.values("src")
    assert all(link.startswith("#") for link in page.values("href"))
    assert not re.search(r"https?:|@import|xmlns|<metadata", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize("make", RECORDS)
def test_equal_records_give_equal_pages_below_5_mb(make: Any) -> None:
    text = render(make())
    assert render(make()) == text
    assert len(text.encode()) < 5_000_000


def test_hostile_text_stays_text_everywhere() -> None:
    record = promoted()
    evaluation = dict(record.evaluation or {})
    texts = {"prompt": HOSTILE, "better": HOSTILE, "worse": "</pre>" + HOSTILE}
    evaluation["mistakes"] = [each | texts for each in evaluation["mistakes"]]
    evaluation["subsets"] = {f"{HOSTILE} $\\frac{{": {"accuracy": evaluation["metrics"]["accuracy"]}}
    summary = record.summary | {"reason": HOSTILE, "model": HOSTILE, "lineage": {HOSTILE: HOSTILE}}
    validation = _validation() | {"quarantined": {HOSTILE: 1}}
    text = render(replace(record, evaluation=evaluation, summary=summary, validation=validation))
    assert not {"script", "img"} & {tag for tag, _ in _Page(text).tags}
    assert not _Page(text).values("onerror")
    assert text.count("{{ 7*7 }}") >= 5
    assert text.encode()


def test_decision_leads_with_its_reason_and_how_sure_it_is() -> None:
    for make, word in ((promoted, "Promoted"), (rejected, "Rejected"), (first, "Promoted"), (failed, "Failed")):
        assert f"{word} {sentence(make().summary['reason'])} Better than the champion?" in _Page(render(make())).text
    assert "Yes, by 0." in render(promoted())
    assert "No, worse by 0." in render(rejected())
    assert "No champion to beat" in render(first())


def test_what_got_worse_is_named() -> None:
    text = _Page(render(rejected())).text
    head = text[: text.index("Gate rules")]
    assert "Gate rule “not worse than the champion” failed: must be lower end >= -0.02" in head
    assert "Subset helpful fell against the champion: −0." in head
    assert "Audit flattery: the edit raises the reward in 1.00 (" in head
    assert "Nothing that was measured." not in head


def test_a_whole_record_leaves_nothing_unmeasured_and_an_empty_one_everything() -> None:
    record = promoted()
    assert MISSING not in render(record).lower()
    page = _Page(render(failed()))
    assert page.text.lower().count("not measured.") >= 12
    assert "svg" not in {tag for tag, attrs in page.tags if attrs.get("class") == "plot"}
    assert not re.search(r"\b0\.0+\b|\bNone\b|\bnan\b|undefined", page.text)


@pytest.mark.parametrize("part", ["evaluation", "audit", "gate", "validation", "split", "training", "export"])
def test_each_missing_part_is_said(part: str) -> None:
    missing: dict[str, Any] = {part: None}
    assert MISSING in render(replace(promoted(), **missing)).lower()


def test_a_null_metric_is_not_a_zero() -> None:
    record = first()
    evaluation = dict(record.evaluation or {})
    evaluation["metrics"] = evaluation["metrics"] | {"ece": None, "length_correlation": None}
    evaluation["baselines"] = {"length": None, "overlap": None, "champion": None}
    text = _Page(render(replace(record, evaluation=evaluation))).text
    assert f"longer wins {MISSING}" in text
    assert "within a prompt: not measured" in text


def test_numbers_carry_their_interval_and_count() -> None:
    measure = (promoted().evaluation or {})["metrics"]["accuracy"]
    assert interval(measure) in _Page(render(promoted())).text
    assert interval({"value": 0.642, "low": 0.61, "high": 0.67, "num": 441}) == "0.642 (0.61–0.67, n = 441)"
    assert difference({"value": -0.02, "low": -0.05, "high": 0.0, "num": 9}) == "−0.020 (−0.050 to 0.000, n = 9)"
    assert [number(value) for value in (None, float("nan"), 0.0)] == [MISSING, "not a finite number", "0"]


def test_figures_follow_the_page_and_name_themselves() -> None:
    plot = forest([Row("a < b 日本", {"value": 0.6, "low": 0.5, "high": 0.7, "num": 9})], key="k", title="T & U")
    assert plot is not None
    assert '<title id="k-title">T &amp; U</title>' in plot
    assert "a &lt; b 日本" in plot
    assert "var(--main)" in plot
    assert "#0a0b" not in plot
    assert forest([Row("a", None)], key="k", title="T") is None
    assert reliability_plot({"value": 0.1, "bins": []}) is None


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_a_contrast_of_4_5_in_light_and_dark() -> None:
    blocks = re.findall(r":root \{(.+?)\n *\}", render(failed()), re.DOTALL)
    light, dark = (dict(re.findall(r"--(\S+?): (#\w{6})", block)) for block in blocks)
    names = ("ink", "soft", "main", "other", "good", "bad", "calm", "alarm")
    pairs = [(text, back) for text in names for back in ("paper", "card")]
    for colours in (light, dark):
        for text, back in [*pairs, ("good", "good-back"), ("bad", "bad-back")]:
            low, high = sorted((_luminance(colours[text]), _luminance(colours[back])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, back)


def test_unknown_decision_is_refused() -> None:
    with pytest.raises(ValueError, match="promoted, rejected, unchanged, failed, got 'maybe'"):
        Record(summary={"decision": "maybe"})


def test_clean_replaces_what_html_cannot_hold() -> None:
    assert clean("a\x00b\ud800c\td") == "a�b?c\td"


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not on PATH: the layout cannot be measured")
def test_nothing_overflows_on_a_phone(tmp_path: Path) -> None:
    record, name = promoted(), "m" * 90
    evaluation = dict(record.evaluation or {}) | {"mistakes": [LONG]}
    evaluation["subsets"] = evaluation["subsets"] | {name: evaluation["subsets"]["math"]}
    text = render(replace(record, evaluation=evaluation, summary=record.summary | {"model": name}))
    page = escape(text.replace("<details", "<details open"))
    measure = "document.body.dataset.width = frames[0].document.documentElement.scrollWidth"
    frame = f'<iframe style="width:390px;height:900px;border:0" srcdoc="{page}"></iframe>'
    (tmp_path / "frame.html").write_text(f'<meta charset="utf-8"><body onload="{measure}">{frame}')
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-sync", "--disable-component-update", "--hide-scrollbars", f"--user-data-dir={tmp_path}/user"]
    command = ["chromium", *flags, "--dump-dom", f"file://{tmp_path}/frame.html"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert re.findall(r'data-width="(\d+)"', shown) == ["390"]
