"""Answer in plain words what a reader asks first: is it better, how sure is that, and what got worse."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.report.record import Record
from steps.report.words import MISSING, count, difference, has_interval, interval, number, plain, sentence, signed, span

_SHOWN = 6
_ALPHA = 0.05  # of the corrected p-values
_STILL = 0.25  # standard deviations that a reward may move by where it should stay
_BASELINES = {"length": "longer wins", "overlap": "overlap wins"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, its answer in a few words, and what it rests on; `tone` is good, bad, unsure or none."""

    question: str
    answer: str
    detail: str
    tone: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that got worse or was refused, and the section that shows it."""

    text: str
    anchor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What a record says; the page and the model card are both written from this."""

    answers: tuple[Answer, ...]
    worse: tuple[Finding, ...]
    unknowns: str
    champion: Mapping[str, Any] | None
    metrics: Mapping[str, Any]
    baselines: Mapping[str, Mapping[str, Any]]
    subsets: Mapping[str, Mapping[str, Any]]
    changes: Mapping[str, Mapping[str, Any] | None]
    above_chance: Mapping[str, bool]
    grades: tuple[str, ...]
    failed_rules: Sequence[Mapping[str, Any]]
    probe_limits: Mapping[str, Sequence[Mapping[str, Any]]]


def find(record: Record) -> Findings:
    """Return what a record says: the answers of the first screen, and what got worse with the gravest first."""
    looks = (_rules, _fallen, _below_chance, _not_above_chance, _probes, _calibration, _expectations)
    return Findings(
        answers=(_better(record), _sure(record), _quality(record)),
        worse=tuple(finding for look in looks for finding in look(record)),
        unknowns=unknowns(record),
        champion=champion(record),
        metrics=(record.evaluation or record.summary).get("metrics") or {},
        baselines=baselines(record),
        subsets=subsets(record),
        changes=subset_changes(record),
        above_chance=above_chance(record),
        grades=tuple(sorted({grade for each in subsets(record).values() for grade in each.get("grades") or ()})),
        failed_rules=failed_rules(record),
        probe_limits=probe_limits(record),
    )


def unknowns(record: Record) -> str:
    """Return which comparisons could not be made, so that silence is not read as good news."""
    gaps = []
    if not record.evaluation:
        gaps.append("accuracy")
    elif not champion(record):
        gaps.append("change against a champion")
    elif not any(subset_changes(record).values()):
        gaps.append("change by subset against the champion")
    gaps += [name for name, part in (("audits", record.audit), ("the gate’s rules", record.gate)) if not part]
    return f"Not measured: {', '.join(gaps)}." if gaps else ""


def champion(record: Record) -> Mapping[str, Any] | None:
    """Return what the evaluation knows of the champion, if there is one."""
    return (record.evaluation or {}).get("champion")


def accuracy(record: Record) -> Mapping[str, Any] | None:
    """Return the candidate's accuracy; the summary has it too."""
    for source in (record.evaluation or {}, record.summary):
        if measure := (source.get("metrics") or {}).get("accuracy"):
            return dict(measure)
    return None


def baselines(record: Record) -> dict[str, Mapping[str, Any]]:
    """Return the accuracy of each scorer that costs nothing; empty where it was not measured."""
    known = (record.evaluation or {}).get("baselines") or {}
    return {_BASELINES.get(name, name): each or {} for name, each in known.items() if name != "champion"}


def subsets(record: Record) -> dict[str, Mapping[str, Any]]:
    """Return the measures of each subset, the largest subset first."""
    known = (record.evaluation or {}).get("subsets") or record.summary.get("subsets") or {}
    return dict(sorted(known.items(), key=lambda item: (-((item[1].get("accuracy") or {}).get("num") or 0), item[0])))


def subset_changes(record: Record) -> dict[str, Mapping[str, Any] | None]:
    """Return each subset's change against the champion, where the evaluation measured it.

    Without a paired difference, the difference of the two accuracies stands in and has no interval.
    """
    theirs = (champion(record) or {}).get("subsets") or {}
    return {name: _change(ours.get("accuracy"), theirs.get(name) or {}) for name, ours in subsets(record).items()}


def above_chance(record: Record) -> dict[str, bool]:
    """Return for each subset that was tested whether it is above chance, after Holm's correction."""
    tested = {name: each["p_holm"] for name, each in subsets(record).items() if each.get("p_holm") is not None}
    return {name: p_value <= _ALPHA for name, p_value in tested.items()}


def failed_rules(record: Record) -> list[Mapping[str, Any]]:
    """Return the gate’s rules that did not pass."""
    return [rule for rule in (record.gate or {}).get("rules") or [] if rule.get("verdict") != "pass"]


def probe_limits(record: Record) -> dict[str, list[Mapping[str, Any]]]:
    """Return the gate’s rules on each audit probe, found by the paths of their evidence."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for rule in (record.gate or {}).get("rules") or []:
        report, _, path = str(rule.get("path", "")).partition(".probes.")
        if report == "audit":
            found.setdefault(path.split(".")[0], []).append(rule)
    return found


def _change(ours: Mapping[str, Any] | None, theirs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if paired := theirs.get("difference"):
        return dict(paired)
    other = theirs.get("accuracy")
    if not ours or not other or ours.get("value") is None or other.get("value") is None:
        return None
    return {"value": ours["value"] - other["value"], "num": ours.get("num")}


def _better(record: Record) -> Answer:
    question = "Better than the champion?"
    if not record.evaluation:
        return Answer(question, "Not measured", "The run ended before the candidate was evaluated.", "none")
    other = champion(record)
    if not other:
        note = sentence(record.evaluation.get("champion_note"))
        detail = f"{note} The candidate is held against the baselines only.".strip()
        return Answer(question, "No champion to beat", detail, "none")
    change = other.get("difference") or {}
    against = f"{_model(other)}: {interval(other.get('accuracy'))}. {sentence(other.get('note'))}".strip()
    return Answer(question, _verdict(change), against, _tone(change))


def _verdict(change: Mapping[str, Any]) -> str:
    if change.get("value") is None:
        return "Not measured"
    if not has_interval(change):
        return f"Unknown: {signed(change['value'])}, interval not measured"
    if not _is_clear(change):
        return f"Not shown ({signed(change['value'])})"
    return f"Yes, by {change['value']:.3f}" if change["low"] > 0 else f"No, worse by {-change['value']:.3f}"


def _tone(change: Mapping[str, Any]) -> str:
    if change.get("value") is None:
        return "none"
    return "unsure" if not _is_clear(change) else "good" if change["low"] > 0 else "bad"


def _sure(record: Record) -> Answer:
    question = "How sure is that?"
    change = (champion(record) or {}).get("difference")
    if change and has_interval(change):
        words = "leaves out zero" if _is_clear(change) else "holds zero: the two cannot be told apart"
        detail = f"95 % interval of the difference over {count(change.get('num'))}; it {words}."
        return Answer(question, span(change, signed_values=True), detail, _tone(change))
    measure = accuracy(record)
    if measure and has_interval(measure):
        detail = f"95 % interval of the accuracy over {count(measure.get('num'))}; no difference was measured."
        return Answer(question, span(measure), detail, "none")
    return Answer(question, "Not measured", "There is no interval to go by.", "none")


def _quality(record: Record) -> Answer:
    question, measure = "How good is it at all?", accuracy(record)
    if not measure or measure.get("value") is None:
        return Answer(question, "Not measured", "No accuracy was measured in this run.", "none")
    if not has_interval(measure):
        return Answer(question, interval(measure), "Accuracy; its interval was not measured.", "unsure")
    text, over = interval({**measure, "num": None}), f"Accuracy over {count(measure.get('num'))}"
    if measure["low"] <= 0.5:
        return Answer(question, text, f"{over}; not shown to be better than chance (0.500).", "bad")
    known = [(each["value"], name) for name, each in baselines(record).items() if each.get("value") is not None]
    if not known:
        return Answer(question, text, f"{over}, better than chance (0.500); no baseline was measured.", "unsure")
    value, name = max(known)
    if measure["low"] > value:
        detail = f"{over}, better than chance and than the best baseline, “{name}” ({number(value)})."
        return Answer(question, text, detail, "good")
    detail = f"{over}, better than chance; not shown to be better than “{name}” ({number(value)})."
    return Answer(question, text, detail, "unsure")


def _rules(record: Record) -> Iterator[Finding]:
    for rule in failed_rules(record):
        note = rule.get("note") or f"{plain(rule.get('evidence'))}, asked for {plain(rule.get('threshold'))}"
        yield Finding(f"Gate rule “{rule['name']}” failed: {note}", "gate")


def _fallen(record: Record) -> Iterator[Finding]:
    fallen = [
        (name, change) for name, change in subset_changes(record).items() if change and (change["value"] or 0) < 0
    ]
    fallen.sort(key=lambda item: (not _is_clear(item[1]), item[1]["value"]))
    for name, change in fallen[:_SHOWN]:
        words = "" if _is_clear(change) else ", within the noise" if has_interval(change) else ", interval not measured"
        yield Finding(f"Subset {name} fell against the champion: {difference(change)}{words}", "subsets")
    if len(fallen) > _SHOWN:
        yield Finding(f"{len(fallen) - _SHOWN} more subsets fell against the champion", "subsets")


def _below_chance(record: Record) -> Iterator[Finding]:
    for name, each in subsets(record).items():
        measure = each.get("accuracy") or {}
        if has_interval(measure) and measure["high"] < 0.5:
            yield Finding(f"Subset {name} is worse than chance: {interval(measure)}", "subsets")


def _not_above_chance(record: Record) -> Iterator[Finding]:
    tested = above_chance(record)
    if weak := [name for name, above in tested.items() if not above]:
        names = ", ".join(weak[:_SHOWN]) + (" and others" if len(weak) > _SHOWN else "")
        yield Finding(f"Not shown to be above chance: {len(weak)} of {len(tested)} subsets ({names})", "subsets")


def _probes(record: Record) -> Iterator[Finding]:
    """Name probes that go the wrong way beyond doubt, unless a failed rule names them already."""
    limits = probe_limits(record)
    for name, probe in ((record.audit or {}).get("probes") or {}).items():
        rate = probe.get("rate") or {}
        if not has_interval(rate) or any(rule["verdict"] != "pass" for rule in limits.get(name, ())):
            continue
        if probe.get("kind") == "edit" and rate["low"] > 0.5:
            yield Finding(f"Audit {name}: the edit raises the reward in {interval(rate)}", "audits")
        if probe.get("kind") in ("kept", "swap") and _moves(probe.get("shift") or {}):
            yield Finding(f"Audit {name}: the reward moves by {difference(probe['shift'])} s.d.", "audits")
        if probe.get("kind") == "order" and rate["high"] < 0.5:
            yield Finding(f"Audit {name}: the order holds in only {interval(rate)}", "audits")


def _moves(shift: Mapping[str, Any]) -> bool:
    """Say whether a reward that should stay moves beyond doubt, by over a quarter of a standard deviation."""
    return has_interval(shift) and (shift["high"] < -_STILL or shift["low"] > _STILL)


def _calibration(record: Record) -> Iterator[Finding]:
    ece = ((record.evaluation or {}).get("metrics") or {}).get("ece") or {}
    value, before = ece.get("value"), ece.get("before")
    if value is not None and before is not None and value > before:
        yield Finding(f"Calibration made the expected error larger: {number(before)} to {number(value)}", "calibration")


def _expectations(record: Record) -> Iterator[Finding]:
    failed: Sequence[Mapping[str, Any]] = [
        each for each in (record.validation or {}).get("expectations") or [] if not each.get("success")
    ]
    for each in failed:
        weight = "Critical data expectation" if each.get("critical") else "Data expectation"
        where = f" on {each['column']}" if each.get("column") else ""
        seen = plain(each.get("observed"))
        yield Finding(f"{weight} {each['name']}{where} failed" + ("" if seen == MISSING else f": {seen}"), "data")


def _is_clear(change: Mapping[str, Any]) -> bool:
    return has_interval(change) and (change["high"] < 0 or change["low"] > 0)


def _model(other: Mapping[str, Any]) -> str:
    return f"Champion {other['model']}" if other.get("model") else "Champion"
