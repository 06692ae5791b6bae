"""The report page: records made by fitting a small linear reward model to phrases, then read as a reader would."""

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from rewardlab.metrics import Estimate, Measure
from rewardlab.reports import Calibration, Subset, Summary
from steps.report import Record, render
from steps.report.plots import Row, forest, reliability_plot
from steps.report.words import MISSING, clean, difference, interval, number, sentence
from tests.report_records import HOSTILE, RECORDS, failed, first, promoted, rejected, validated


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


@functools.cache
def page_of(make: Callable[[], Record]) -> str:
    """Return the page of a record, drawn once."""
    return render(make())


@pytest.mark.parametrize("make", RECORDS)
def test_anchors_resolve_and_ids_are_unique(make: Any) -> None:
    page = _Page(page_of(make))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in page.values("href")} <= set(ids)
    assert {name for names in page.values("aria-labelledby") for name in names.split()} <= set(ids)
    assert set(re.findall(r"url\(#(\w+)\)", page_of(make))) <= set(ids)


@pytest.mark.parametrize("make", RECORDS)
def test_page_loads_nothing(make: Any) -> None:
    text = page_of(make)
    page = _Page(text)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    assert not page.values("src")
    assert all(link.startswith("#") for link in page.values("href"))
    assert not re.search(r"https?:|@import|xmlns|<metadata", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize("make", RECORDS)
def test_equal_records_give_equal_pages_below_5_mb(make: Any) -> None:
    text = page_of(make)
    assert render(make()) == text
    assert len(text.encode()) < 5_000_000


def test_hostile_text_stays_text_everywhere() -> None:
    record = promoted()
    assert record.evaluation
    mistakes = [
        replace(each, prompt=HOSTILE, better=HOSTILE, worse="</pre>" + HOSTILE) for each in record.evaluation.mistakes
    ]
    subsets = {f"{HOSTILE} $\\frac{{": Subset(accuracy=record.evaluation.metrics.accuracy)}
    evaluation = replace(record.evaluation, mistakes=tuple(mistakes), subsets=subsets)
    summary = replace(record.summary, reason=HOSTILE, model=HOSTILE, lineage={HOSTILE: HOSTILE})
    validation = replace(validated(), quarantined={HOSTILE: 1})
    text = render(replace(record, evaluation=evaluation, summary=summary, validation=validation))
    assert not {"script", "img"} & {tag for tag, _ in _Page(text).tags}
    assert not _Page(text).values("onerror")
    assert text.count("{{ 7*7 }}") >= 5
    assert text.encode()


def test_decision_leads_with_its_reason_and_how_sure_it_is() -> None:
    for make, word in ((promoted, "Promoted"), (rejected, "Rejected"), (first, "Promoted"), (failed, "Failed")):
        assert f"{word} {sentence(make().summary.reason)} Better than the champion?" in _Page(page_of(make)).text
    assert "Yes, by 0." in page_of(promoted)
    assert "No, worse by 0." in page_of(rejected)
    assert "No champion to beat" in page_of(first)


def test_what_got_worse_is_named() -> None:
    text = _Page(page_of(rejected)).text
    head = text[: text.index("Gate rules")]
    assert "Gate rule “not worse than the champion” failed: must be lower end >= -0.02" in head
    assert "Subset helpful fell against the champion: −0." in head
    assert "Audit flattery: the edit raises the reward in 1.00 (" in head
    assert "Nothing that was measured." not in head


def test_a_whole_record_leaves_nothing_unmeasured_and_an_empty_one_everything() -> None:
    record = promoted()
    assert MISSING not in render(record).lower()
    page = _Page(page_of(failed))
    assert page.text.lower().count("not measured.") >= 12
    assert "svg" not in {tag for tag, attrs in page.tags if attrs.get("class") == "plot"}
    assert not re.search(r"\b0\.0+\b|\bNone\b|\bnan\b|undefined", page.text)


@pytest.mark.parametrize("part", ["evaluation", "audit", "gate", "validation", "split", "training", "export"])
def test_each_missing_part_is_said(part: str) -> None:
    missing: dict[str, Any] = {part: None}
    assert MISSING in render(replace(promoted(), **missing)).lower()


def test_a_null_metric_is_not_a_zero() -> None:
    record = first()
    assert record.evaluation
    metrics = replace(record.evaluation.metrics, ece=None, length_correlation=None)
    baselines = {"length": None, "overlap": None, "champion": None}
    evaluation = replace(record.evaluation, metrics=metrics, baselines=baselines)
    text = _Page(render(replace(record, evaluation=evaluation))).text
    assert f"longer wins {MISSING}" in text
    assert "within a prompt: not measured" in text


def test_numbers_carry_their_interval_and_count() -> None:
    measure = promoted().summary.metrics.accuracy
    assert " ".join(interval(measure).split()) in _Page(page_of(promoted)).text
    assert interval(Measure(value=0.642, low=0.61, high=0.67, num=441)) == "0.642 (0.61–0.67, n\xa0=\xa0441)"
    assert difference(Measure(value=-0.02, low=-0.05, high=0.0, num=9)) == "−0.020 (−0.050 to 0.000, n\xa0=\xa09)"
    assert [number(value) for value in (None, float("nan"), 0.0)] == [MISSING, "not a finite number", "0"]


def test_figures_follow_the_page_and_name_themselves() -> None:
    plot = forest([Row("a < b 日本", Estimate(value=0.6, low=0.5, high=0.7, num=9))], key="k", title="T & U")
    assert plot is not None
    assert '<title id="k-title">T &amp; U</title>' in plot
    assert "a &lt; b 日本" in plot
    assert "var(--main)" in plot
    assert "#0a0b" not in plot
    assert forest([Row("a", None)], key="k", title="T") is None
    assert reliability_plot(Calibration(value=0.1)) is None


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_a_contrast_of_4_5_in_light_and_dark() -> None:
    blocks = re.findall(r":root \{(.+?)\n *\}", page_of(failed), re.DOTALL)
    light, dark = (dict(re.findall(r"--(\S+?): (#\w{6})", block)) for block in blocks)
    names = ("ink", "soft", "main", "other", "good", "bad", "calm", "alarm")
    pairs = [(text, back) for text in names for back in ("paper", "card")]
    for colours in (light, dark):
        for text, back in [*pairs, ("good", "good-back"), ("bad", "bad-back")]:
            low, high = sorted((_luminance(colours[text]), _luminance(colours[back])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, back)


def test_unknown_decision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"decision .*'promoted', 'rejected', 'unchanged', 'failed'.* got 'maybe'"):
        Summary.from_dict(failed().summary.to_dict() | {"decision": "maybe"})


def test_clean_replaces_what_html_cannot_hold() -> None:
    assert clean("a\x00b\ud800c\td") == "a�b?c\td"
