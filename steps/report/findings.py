"""Answer in plain words what a reader asks first: is it better, how sure is that, and what got worse."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.report.record import Record
from steps.report.words import MISSING, difference, has_interval, interval, number, plain, sentence, signed, span

_SHOWN = 6
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


def answers(record: Record) -> tuple[Answer, ...]:
    """Return the answers of the first screen."""
    return (_better(record), _sure(record), _quality(record))


def findings(record: Record) -> tuple[Finding, ...]:
    """Return everything measured that got worse, failed or went past a limit, the gravest first."""
    return tuple(
        finding
        for look in (_rules, _fallen, _below_chance, _probes, _calibration, _expectations)
        for finding in look(record)
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


def failed_rules(record: Record) -> list[Mapping[str, Any]]:
    """Return the gate’s rules that did not pass."""
    return [rule for rule in (record.gate or {}).get("rules") or [] if rule.get("verdict") != "pass"]


def probe_limits(record: Record) -> dict[str, list[Mapping[str, Any]]]:
    """Return the gate’s rules on each audit probe, found by the paths in the gate's policy."""
    gate = record.gate or {}
    rules = {rule["name"]: rule for rule in gate.get("rules") or []}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for limit in (gate.get("policy") or {}).get("limits") or []:
        report, _, path = str(limit.get("evidence", "")).partition(".probes.")
        if report == "audit" and limit.get("name") in rules:
            found.setdefault(path.split(".")[0], []).append(rules[limit["name"]])
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
        detail = f"95 % interval of the difference over n = {number(change.get('num'))}; it {words}."
        return Answer(question, span(change, signed_values=True), detail, _tone(change))
    measure = accuracy(record)
    if measure and has_interval(measure):
        detail = f"95 % interval of the accuracy over n = {number(measure.get('num'))}; no difference was measured."
        return Answer(question, span(measure), detail, "none")
    return Answer(question, "Not measured", "There is no interval to go by.", "none")


def _quality(record: Record) -> Answer:
    question, measure = "How good is it at all?", accuracy(record)
    if not measure or measure.get("value") is None:
        return Answer(question, "Not measured", "No accuracy was measured in this run.", "none")
    text = interval(measure)
    if not has_interval(measure):
        return Answer(question, text, "Accuracy; its interval was not measured.", "unsure")
    if measure["low"] <= 0.5:
        return Answer(question, text, "Accuracy; not shown to be better than chance (0.500).", "bad")
    known = [(each["value"], name) for name, each in baselines(record).items() if each.get("value") is not None]
    if not known:
        return Answer(question, text, "Accuracy, better than chance (0.500); no baseline was measured.", "unsure")
    value, name = max(known)
    if measure["low"] > value:
        detail = f"Accuracy, better than chance and than the best baseline, “{name}” ({number(value)})."
        return Answer(question, text, detail, "good")
    detail = f"Accuracy, better than chance; not shown to be better than “{name}” ({number(value)})."
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


def _probes(record: Record) -> Iterator[Finding]:
    """Name probes that go the wrong way beyond doubt, unless a failed rule names them already."""
    limits = probe_limits(record)
    for name, probe in ((record.audit or {}).get("probes") or {}).items():
        rate = probe.get("rate") or {}
        if not has_interval(rate) or any(rule["verdict"] != "pass" for rule in limits.get(name, ())):
            continue
        if probe.get("kind") == "edit" and rate["low"] > 0.5:
            yield Finding(f"Audit {name}: the edit raises the reward in {interval(rate)}", "audits")
        if probe.get("kind") == "order" and rate["high"] < 0.5:
            yield Finding(f"Audit {name}: the order holds in only {interval(rate)}", "audits")


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
