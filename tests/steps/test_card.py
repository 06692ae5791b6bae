"""The model card: the page's numbers as Markdown, beside the page and as the version's description."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markdown import markdown

from rewardlab.bundle import Bundle
from rewardlab.files import write_json
from rewardlab.reports import Subset
from steps.common.run_record import RunRecord
from steps.register import RegisterConfig, register
from steps.registry.client import connect, describe_version, pipeline_run
from steps.report import Record, ReportConfig, report
from steps.report.card import model_card
from steps.report.findings import find
from steps.report.words import interval
from tests.report_records import HOSTILE, first, promoted, rejected, stopped


def html(card: str) -> str:
    return markdown(card, extensions=["tables"])


@pytest.mark.parametrize("make", [promoted, rejected, first])
def test_the_card_says_what_the_page_says(make: Any) -> None:
    record = make()
    text = re.sub(r"\\(.)", r"\1", model_card(record))
    found = find(record)
    said = [answer.answer for answer in found.answers] + [finding.text for finding in found.worse]
    said += [interval(each.accuracy) for each in found.subsets.values()] + [interval(found.metrics.accuracy)]
    said += [rule.name for rule in record.gate.rules]
    assert [words for words in said if " ".join(words.split()) not in " ".join(text.split())] == []


def test_what_was_not_measured_is_said_and_no_zero() -> None:
    card = model_card(replace(first(), audit=None, gate=None))
    assert card.count("Not measured.") == 2
    assert "Not measured: change against a champion, audits, the gate’s rules." in card


def test_hostile_names_stay_text_in_markdown() -> None:
    names = (HOSTILE, "a|b", "*loud* _soft_ `code`", "[link](http://evil.test)", "a\n# heading", "&lt;b&gt;")
    record = promoted()
    assert record.evaluation
    subset = Subset(accuracy=record.evaluation.metrics.accuracy)
    evaluation = replace(record.evaluation, subsets=dict.fromkeys(names, subset))
    summary = replace(record.summary, reason=HOSTILE, lineage={HOSTILE: HOSTILE})
    shown = html(model_card(replace(record, evaluation=evaluation, summary=summary)))
    tags = set(re.findall(r"</?(\w+)", shown))
    assert tags <= {"h1", "h2", "p", "ul", "li", "strong", "pre", "code", "table", "thead", "tbody", "tr", "th", "td"}
    assert shown.count("<code>") == 1
    rows = [row.count("<td") for row in shown.split("<tr>") if "<td" in row]
    assert set(rows) == {5, 4}
    assert "<td>*loud* _soft_ `code`</td>" in shown


def ended(registry: Path, folder: Path, bundle: Path, record: Record, run_id: str) -> str:
    """Register a bundle with a record's evidence, report the run, and return its folder's card."""
    digest = Bundle.open(bundle).digest
    assert record.evaluation
    assert record.audit
    assert record.gate
    assert record.training
    gate = replace(record.gate, bundle=digest, test_digest="t")
    parts = {"evaluation": record.evaluation, "audit": record.audit, "gate": gate, "training": record.training}
    for name, part in parts.items():
        write_json(folder / f"{name}.json", part.to_dict())
    lineage = {"recipe": "smoke"}
    evidence = {name: folder / f"{name}.json" for name in parts}
    register(RegisterConfig(name="m", run_id=run_id, lineage=lineage, data_md5="0"), bundle, evidence)
    config = ReportConfig(name="m", run_id=run_id, lineage=lineage)
    RunRecord().write(folder / run_id)
    report(config, folder / run_id, state="SUCCEEDED")
    return (folder / run_id / "model_card.md").read_text(encoding="utf-8")


def test_the_registry_holds_the_card_of_each_version(registry: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    card = ended(registry, tmp_path, tiny_bundle, rejected(), "one")
    client = connect()
    assert client.get_model_version("m", "1").description == card
    assert card.startswith("# m/1: rejected\n")
    kept = {entry.path for entry in client.list_artifacts(pipeline_run(client, "one"))}
    assert {"model_card.md", "report.html", "summary.json"} <= kept
    gate = rejected().gate
    assert gate
    same = replace(rejected(), gate=replace(gate, verdict="unchanged"))
    assert ended(registry, tmp_path, tiny_bundle, same, "two").startswith("# m/1: unchanged\n")
    assert client.get_model_version("m", "1").description == card


def test_a_run_without_a_decision_has_no_card(registry: Path, tmp_path: Path) -> None:
    config = ReportConfig(name="m", run_id="r", lineage={"recipe": "smoke"})
    stopped("train", "no memory").write(tmp_path)
    assert report(config, tmp_path, state="FAILED").decision == "failed"
    assert not (tmp_path / "model_card.md").exists()


def test_a_card_that_is_too_long_for_the_registry_is_cut_at_a_line(
    registry: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    ended(registry, tmp_path, tiny_bundle, rejected(), "one")
    describe_version(connect(), "m/1", "a line of the card\n" * 400)
    text = connect().get_model_version("m", "1").description
    assert 4900 < len(text) <= 5000
    assert set(text.splitlines()) == {"a line of the card", "", "The rest is in model_card.md of the run."}
