"""The site: it builds without a warning, loads nothing from elsewhere, and its reference has all of the library."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import rewardlab as library
from rewardlab.readers import READERS
from steps.audit.edits import EDITS
from steps.audit.orders import ORDERS, SWAPS
from tests.pages import PAGES
from tests.served import overload_policies

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


def test_every_page_is_there(site: Path) -> None:
    made = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")}
    assert {*PAGES, "reference/command-line.md", "explanation/decisions.md", "log.md"} <= made
    assert not list(site.rglob("*.py"))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = []

    class Look(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            loaded.append(dict(attrs).get(LOADED.get(tag, "")) or "")

    for page in site.rglob("*.html"):
        Look().feed(page.read_text(encoding="utf-8"))
    for sheet in site.rglob("*.css"):
        loaded.extend(re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", sheet.read_text(encoding="utf-8")))
    assert [address for address in loaded if re.match(r"(https?:)?//", address)] == []


def test_the_reference_has_every_name_and_its_examples(site: Path) -> None:
    text = "".join((site / "reference" / page).read_text(encoding="utf-8") for page in ("python.html", "record.html"))
    anchors = set(re.findall(r'id="rewardlab(?:\.\w+)*?\.(\w+)"', text))
    assert set(library.__all__) - {"metrics", "__version__"} <= anchors
    assert {"accuracy", "reliability", "compare", "score_many"} <= anchors
    assert "<p>Example:" not in text


def test_the_command_line_reference_is_what_help_says(site: Path) -> None:
    text = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    assert "Usage: rewardlab rollback [OPTIONS]" in text
    assert "Only say what would go." in text


def rows(page: Path, num_cells: int) -> dict[str, list[str]]:
    """Return the rows of a page's tables that have so many cells, as text, by their first cell."""
    text = page.read_text(encoding="utf-8")
    table = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)]
    cells = [[html.unescape(re.sub(r"</?code>", "", cell)) for cell in row] for row in table if len(row) == num_cells]
    return {row[0]: row[1:] for row in cells}


def test_the_table_of_formats_has_every_reader(site: Path) -> None:
    table = rows(site / "how-to" / "data.html", 2)
    assert {reader.name: table.get(reader.name) for reader in READERS} == {
        reader.name: [reader.form.replace(" | ", " or ")] for reader in READERS
    }


def test_the_tables_of_probes_have_every_probe(site: Path) -> None:
    table = rows(site / "how-to" / "audits.html", 2)
    probes = {**ORDERS, **SWAPS, **EDITS}
    assert {name: table.get(name) for name in probes} == {name: [probe.expectation] for name, probe in probes.items()}


def test_the_table_of_faults_is_the_overload_policies_of_the_protocols(site: Path) -> None:
    assert rows(site / "reference" / "faults.html", 6) == {
        name: [
            f"is held {policy.hold_seconds:g} s" if policy.hold_seconds else "is sent away",
            str(policy.full_status),
            f"{policy.deadline_seconds:g} s",
            str(policy.refusal_status),
            policy.why,
        ]
        for name, policy in overload_policies().items()
    }
