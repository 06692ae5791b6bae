"""The report and the site as a reader sees them: in Chromium, on a desk, on a phone, in the dark and on paper."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from steps.report import Record, render
from tests.browser import Tab, chromium, needs_chromium
from tests.report_records import LONG, RECORDS

pytestmark = [needs_chromium, pytest.mark.slow]
SIZES = {"desk": (1280, 800), "phone": (390, 844), "small phone": (320, 568)}
LOOK = (Path(__file__).parents[1] / "look.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """Return a tab of a browser for all tests of this file."""
    with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


def hard(record: Record) -> Record:
    """Return a record with the longest names and texts that a page could meet."""
    if not record.evaluation:
        return record
    evaluation = replace(
        record.evaluation,
        mistakes=(LONG, *record.evaluation.mistakes),
        subsets={**record.evaluation.subsets, "m" * 90: record.evaluation.subsets["math"]},
    )
    return replace(record, evaluation=evaluation, summary=replace(record.summary, model="m" * 90))


@pytest.fixture(params=RECORDS, ids=lambda make: make.__name__)
def report(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of each report in turn."""
    (tmp_path / "report.html").write_text(render(hard(request.param())), encoding="utf-8")
    return f"file://{tmp_path}/report.html"


def look(tab: Tab, name: str, *arguments: Any) -> Any:
    """Return what a function of look.js says of the page."""
    return tab.value(f"(() => {{ {LOOK}; return {name}(...{list(arguments)!r}) }})()")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_report_reads_well_and_complains_of_nothing(tab: Tab, report: str, dark: bool) -> None:
    for name, (width, height) in SIZES.items():
        tab.open(report, width=width, height=height, dark=dark)
        look(tab, "unfold")
        assert (tab.complaints, tab.asked) == ([], [report]), name
        assert look(tab, "faint", 4.5) == [], name
        assert look(tab, "beyond") == [], name
        assert look(tab, "tiny", 8.0) == [], name


def test_every_anchor_of_the_report_leads_somewhere(tab: Tab, report: str) -> None:
    tab.open(report)
    assert look(tab, "lost") == []
    assert look(tab, "links") > 5


def test_the_first_screen_answers(tab: Tab, tmp_path: Path) -> None:
    for make in RECORDS[:3]:
        (tmp_path / "report.html").write_text(render(make()), encoding="utf-8")
        for width, height in (SIZES["desk"], SIZES["phone"]):
            tab.open(f"file://{tmp_path}/report.html", width=width, height=height)
            wanted = [
                "h1",
                ".reason",
                ".answer:nth-child(1)",
                ".answer:nth-child(2)",
                ".answer:nth-child(3)",
                ".worse h2",
            ]
            assert look(tab, "below", height, wanted) == []


def test_the_report_is_printed_whole_and_in_light_colours(tab: Tab, report: str) -> None:
    tab.open(report, width=794, height=1123, media="print", dark=True)
    assert look(tab, "faint", 4.5) == []
    assert look(tab, "beyond") == []
    assert look(tab, "unseen", "details pre") == []
    assert look(tab, "background") == [255, 255, 255, 1]
    sheets = len(re.findall(rb"/Type\s*/Page\b", tab.printed()))
    assert 1 <= sheets <= 40


def test_the_looks_see_what_is_wrong(tab: Tab, tmp_path: Path) -> None:
    """What cannot fail shows nothing: each look must find its fault on a page that has them all."""
    faults = """<!doctype html><body style="margin:0"><p style="color:#999">faint</p><p style="opacity:.4">thin</p>
    <div style="width:2000px">wide</div><p style="font-size:5px">small</p><a href="#nowhere">lost</a>
    <details><summary>more</summary><pre>unseen</pre></details><script>console.error("sorry")</script>"""
    (tmp_path / "bad.html").write_text(faults)
    tab.open(f"file://{tmp_path}/bad.html", width=390, height=844)
    assert "sorry" in str(tab.complaints)
    assert [text for text, _ in look(tab, "faint", 4.5)] == ["faint", "thin"]
    assert look(tab, "beyond") != []
    assert [text for text, _ in look(tab, "tiny", 8.0)] == ["small"]
    assert look(tab, "lost") == ["#nowhere"]
    assert look(tab, "unseen", "details pre") == ["unseen"]
    assert look(tab, "below", 10, ["summary", "h1"]) == ["summary", "h1"]


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Return where the site of docs/ is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_every_page_of_the_site_reads_well(tab: Tab, site: Path, address: str) -> None:
    for page in sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html")):
        for (width, height), dark in ((SIZES["desk"], True), (SIZES["phone"], False)):
            tab.open(f"{address}/{page}", width=width, height=height, dark=dark)
            assert tab.complaints == [], page
            assert (look(tab, "background")[0] < 99) == dark
            assert [url for url in tab.asked if not url.startswith((address, "data:", "blob:"))] == [], page
            assert look(tab, "lost") == [], page
            assert look(tab, "beyond") == [], page
            assert look(tab, "faint", 4.5) == [], page


@pytest.mark.slow
def test_the_site_finds_what_is_searched_for(tab: Tab, address: str) -> None:
    tab.open(f"{address}/index.html?q=rollback")
    found = look(tab, "within", 20_000, ".md-search-result__link")
    assert any("command-line" in link or "versions" in link for link in found)
