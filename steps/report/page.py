"""Render a run's record, or over-optimisation, as one self-contained HTML page."""

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup

from rewardlab.config import Report
from rewardlab.metrics import Estimate
from rewardlab.reports import ModelOveroptimization
from steps.report import findings, plots, words
from steps.report.findings import Findings
from steps.report.record import Record

_SECTIONS = (
    ("gate", "Gate rules"),
    ("subsets", "Accuracy by subset"),
    ("baselines", "Baselines"),
    ("audits", "Audits"),
    ("calibration", "Calibration"),
    ("rewards", "Rewards"),
    ("length", "Response length"),
    ("mistakes", "Worst mistakes"),
    ("training", "Training"),
    ("export", "Parity and INT8"),
    ("data", "Data and split"),
    ("lineage", "Lineage and versions"),
    ("time", "Time per step"),
)


def render(record: Record) -> str:
    """Return the page's HTML; equal records give equal text.

    The texts of prompts and responses are hostile: everything is escaped, and the page's own policy forbids scripts
    and network access. A part that is `None` reads "not measured".
    """
    found = findings.find(record)
    page = (
        environment(autoescape=True)
        .get_template("report.html.j2")
        .render(
            summary=record.summary,
            record=record,
            found=found,
            sections=_SECTIONS,
            max_rows=plots.MAX_ROWS,
            baselines=_baselines(found),
            plots=_plots(record, found),
        )
    )
    return words.clean(page)


def render_overoptimization(result: ModelOveroptimization) -> str:
    """Return the page of what `commands.overoptimization` found, with the model and the data it is about."""
    page = environment(autoescape=True).get_template("overoptimization.html.j2")
    return words.clean(page.render(result=result, plot=plots.overoptimization_curve(result)))


@functools.cache
def environment(**options: Any) -> Environment:
    """Return the templates of page and model card, and the filters that write their numbers."""
    # ChainableUndefined: `ece.value` of a missing `ece` prints "not measured", which the tests hold it to.
    made = Environment(  # noqa: S701 (the page escapes HTML, the card escapes Markdown)
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    written = (words.interval, words.difference, words.duration, words.clip, words.sentence, words.plain, words.percent)
    made.filters |= {write.__name__: _or_missing(write) for write in written}
    made.filters |= {"num": _or_missing(words.number), "facts": _facts, "share": _share, "relation": words.relation}
    return made


def _or_missing(write: Any) -> Any:
    def written(value: Any, *options: Any) -> str:
        return words.MISSING if value is None or isinstance(value, ChainableUndefined) else write(value, *options)

    return written


def _facts(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and texts of a nested document, inner names joined by a dot; a report's as its file has them."""
    if isinstance(values, Report):
        values = json.loads(values.to_json())
    if not isinstance(values, Mapping):
        return
    for name, value in values.items():
        if isinstance(value, Report) or (isinstance(value, Mapping) and value):
            yield from _facts(value, f"{prefix}{name}." if name else prefix)
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else words.plain(value)


def _share(value: Any, whole: Any) -> str:
    """Return a bar's length as a CSS percentage."""
    return f"{100 * value / whole:.1f}%" if whole and isinstance(value, int | float) else "0%"


def _baselines(found: Findings) -> dict[str, Estimate | None]:
    """Return the free scorers and the champion, for the table and the first figure."""
    scorers = dict(found.baselines)
    if found.champion and found.champion.accuracy:
        scorers["champion"] = found.champion.accuracy
    return scorers


def _plots(record: Record, found: Findings) -> dict[str, Markup | None]:
    evaluation = record.evaluation
    return {
        "standing": plots.forest(_standing(found), key="standing", title="Accuracy beside the baselines"),
        "subsets": plots.forest(_subset_rows(found), key="subset", title="Accuracy by subset"),
        "audits": plots.forest(_probe_rows(record), key="audit", title="Rate of each audit probe", label="rate"),
        "training": plots.training_curve(record.training),
        "calibration": plots.reliability_plot(found.metrics.ece),
        "rewards": plots.histogram(evaluation.rewards if evaluation else None),
        "length": plots.length_scatter(evaluation.scatter if evaluation else ()),
    }


def _standing(found: Findings) -> list[plots.Row]:
    others = [plots.Row(name, measure, main=False) for name, measure in _baselines(found).items()]
    return [plots.Row("candidate", found.metrics.accuracy), *reversed(others)]


def _subset_rows(found: Findings) -> list[plots.Row]:
    theirs = found.champion.subsets if found.champion else {}
    return [
        plots.Row(name, subset.accuracy, ghost=theirs[name].accuracy if name in theirs else None)
        for name, subset in found.subsets.items()
    ]


def _probe_rows(record: Record) -> list[plots.Row]:
    probes = record.audit.probes if record.audit else {}
    return [plots.Row(name, probe.rate, main=probe.kind == "order") for name, probe in probes.items()]
