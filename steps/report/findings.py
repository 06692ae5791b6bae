"""Answer in plain words what a reader asks first: is it better, how sure is that, and what got worse."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rewardlab.metrics import Difference, Estimate, Interval, Measure
from rewardlab.reports import Compared, ComparedModel, Metrics, RuleOutcome, Subset
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
    champion: ComparedModel | None
    metrics: Metrics
    baselines: Mapping[str, Estimate | None]
    subsets: Mapping[str, Subset]
    changes: Mapping[str, Measure | None]
    above_chance: Mapping[str, bool]
    grades: tuple[str, ...]
    failed_rules: Sequence[RuleOutcome]
    probe_limits: Mapping[str, Sequence[RuleOutcome]]


def find(record: Record) -> Findings:
    """Return what a record says: the answers of the first screen, and what got worse with the gravest first."""
    looks = (_rules, _fallen, _below_chance, _not_above_chance, _probes, _calibration, _expectations)
    return Findings(
        answers=(_better(record), _sure(record), _quality(record)),
        worse=tuple(finding for look in looks for finding in look(record)),
        unknowns=unknowns(record),
        champion=champion(record),
        metrics=metrics(record),
        baselines=baselines(record),
        subsets=subsets(record),
        changes=subset_changes(record),
        above_chance=above_chance(record),
        grades=tuple(sorted({grade for each in subsets(record).values() for grade in each.grades})),
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


def champion(record: Record) -> ComparedModel | None:
    """Return what the evaluation knows of the champion, if there is one."""
    return record.evaluation.champion if record.evaluation else None


def metrics(record: Record) -> Metrics:
    """Return the candidate's metrics; the summary has them too."""
    return (record.evaluation or record.summary).metrics


def baselines(record: Record) -> dict[str, Estimate | None]:
    """Return the accuracy of each scorer that costs nothing; None where it was not measured."""
    known = record.evaluation.baselines if record.evaluation else {}
    return {_BASELINES.get(name, name): measure for name, measure in known.items() if name != "champion"}


def subsets(record: Record) -> dict[str, Subset]:
    """Return the measures of each subset, the largest subset first."""
    known = (record.evaluation or record.summary).subsets
    return dict(sorted(known.items(), key=lambda item: (-_num(item[1]), item[0])))


def _num(subset: Subset) -> int:
    return subset.accuracy.num if subset.accuracy else 0


def subset_changes(record: Record) -> dict[str, Measure | None]:
    """Return each subset's change against the champion, where the evaluation measured it.

    Without a paired difference, the difference of the two accuracies stands in and has no interval.
    """
    other = champion(record)
    theirs = other.subsets if other else {}
    return {name: _change(ours.accuracy, theirs.get(name)) for name, ours in subsets(record).items()}


def above_chance(record: Record) -> dict[str, bool]:
    """Return for each subset that was tested whether it is above chance, after Holm's correction."""
    p_values = {name: subset.p_holm for name, subset in subsets(record).items()}
    return {name: p_value <= _ALPHA for name, p_value in p_values.items() if p_value is not None}


def failed_rules(record: Record) -> list[RuleOutcome]:
    """Return the gate’s rules that did not pass."""
    return [rule for rule in rules(record) if rule.verdict != "pass"]


def rules(record: Record) -> Sequence[RuleOutcome]:
    """Return all rules of the gate, if it has decided."""
    return record.gate.rules if record.gate else ()


def probe_limits(record: Record) -> dict[str, list[RuleOutcome]]:
    """Return the gate’s rules on each audit probe, found by the paths of their evidence."""
    found: dict[str, list[RuleOutcome]] = {}
    for rule in rules(record):
        report, _, path = rule.path.partition(".probes.")
        if report == "audit":
            found.setdefault(path.split(".")[0], []).append(rule)
    return found


def _change(ours: Estimate | None, theirs: Compared | None) -> Measure | None:
    if theirs and theirs.difference:
        return theirs.difference
    if not ours or not theirs or not theirs.accuracy:
        return None
    return Measure(value=ours.value - theirs.accuracy.value, num=ours.num)


def _better(record: Record) -> Answer:
    question = "Better than the champion?"
    if not record.evaluation:
        return Answer(question, "Not measured", "The run ended before the candidate was evaluated.", "none")
    other = champion(record)
    if not other:
        note = sentence(record.evaluation.champion_note)
        detail = f"{note} The candidate is held against the baselines only.".strip()
        return Answer(question, "No champion to beat", detail, "none")
    against = f"Champion {other.model}: {interval(other.accuracy)}. {sentence(other.note)}".strip()
    return Answer(question, _verdict(other.difference), against, _tone(other.difference))


def _verdict(change: Difference | None) -> str:
    if change is None:
        return "Not measured"
    if not _is_clear(change):
        return f"Not shown ({signed(change.value)})"
    return f"Yes, by {change.value:.3f}" if change.low > 0 else f"No, worse by {-change.value:.3f}"


def _tone(change: Difference | None) -> str:
    if change is None:
        return "none"
    return "unsure" if not _is_clear(change) else "good" if change.low > 0 else "bad"


def _sure(record: Record) -> Answer:
    question = "How sure is that?"
    other = champion(record)
    if other and (change := other.difference):
        words = "leaves out zero" if _is_clear(change) else "holds zero: the two cannot be told apart"
        detail = f"95 % interval of the difference over {count(change.num)}; it {words}."
        return Answer(question, span(change, signed_values=True), detail, _tone(change))
    if measure := metrics(record).accuracy:
        detail = f"95 % interval of the accuracy over {count(measure.num)}; no difference was measured."
        return Answer(question, span(measure), detail, "none")
    return Answer(question, "Not measured", "There is no interval to go by.", "none")


def _quality(record: Record) -> Answer:
    question, measure = "How good is it at all?", metrics(record).accuracy
    if not measure:
        return Answer(question, "Not measured", "No accuracy was measured in this run.", "none")
    text, over = f"{number(measure.value)} ({span(measure)})", f"Accuracy over {count(measure.num)}"
    if measure.low <= 0.5:
        return Answer(question, text, f"{over}; not shown to be better than chance (0.500).", "bad")
    known = [(baseline.value, name) for name, baseline in baselines(record).items() if baseline]
    if not known:
        return Answer(question, text, f"{over}, better than chance (0.500); no baseline was measured.", "unsure")
    value, name = max(known)
    if measure.low > value:
        detail = f"{over}, better than chance and than the best baseline, “{name}” ({number(value)})."
        return Answer(question, text, detail, "good")
    detail = f"{over}, better than chance; not shown to be better than “{name}” ({number(value)})."
    return Answer(question, text, detail, "unsure")


def _rules(record: Record) -> Iterator[Finding]:
    for rule in failed_rules(record):
        yield Finding(f"Gate rule “{rule.name}” failed: {rule.note}", "gate")


def _fallen(record: Record) -> Iterator[Finding]:
    fallen = [
        (not _is_clear(change), change.value, name, change)
        for name, change in subset_changes(record).items()
        if change and change.value is not None and change.value < 0
    ]
    fallen.sort(key=lambda row: row[:2])
    for _, _, name, change in fallen[:_SHOWN]:
        words = "" if _is_clear(change) else ", within the noise" if has_interval(change) else ", interval not measured"
        yield Finding(f"Subset {name} fell against the champion: {difference(change)}{words}", "subsets")
    if len(fallen) > _SHOWN:
        yield Finding(f"{len(fallen) - _SHOWN} more subsets fell against the champion", "subsets")


def _below_chance(record: Record) -> Iterator[Finding]:
    for name, subset in subsets(record).items():
        measure = subset.accuracy
        if measure and measure.high < 0.5:
            yield Finding(f"Subset {name} is worse than chance: {interval(measure)}", "subsets")


def _not_above_chance(record: Record) -> Iterator[Finding]:
    tested = above_chance(record)
    if weak := [name for name, above in tested.items() if not above]:
        names = ", ".join(weak[:_SHOWN]) + (" and others" if len(weak) > _SHOWN else "")
        yield Finding(f"Not shown to be above chance: {len(weak)} of {len(tested)} subsets ({names})", "subsets")


def _probes(record: Record) -> Iterator[Finding]:
    """Name probes that go the wrong way beyond doubt, unless a failed rule names them already."""
    limits = probe_limits(record)
    for name, probe in (record.audit.probes if record.audit else {}).items():
        rate = probe.rate
        if any(rule.verdict != "pass" for rule in limits.get(name, ())):
            continue
        if probe.kind == "edit" and rate.low > 0.5:
            yield Finding(f"Audit {name}: the edit raises the reward in {interval(rate)}", "audits")
        if probe.kind in ("kept", "swap") and _moves(probe.shift):
            yield Finding(f"Audit {name}: the reward moves by {difference(probe.shift)} s.d.", "audits")
        if probe.kind == "order" and rate.high < 0.5:
            yield Finding(f"Audit {name}: the order holds in only {interval(rate)}", "audits")


def _moves(shift: Interval | None) -> bool:
    """Say whether a reward that should stay moves beyond doubt, by over a quarter of a standard deviation."""
    return shift is not None and (shift.high < -_STILL or shift.low > _STILL)


def _calibration(record: Record) -> Iterator[Finding]:
    ece = record.evaluation.metrics.ece if record.evaluation else None
    value, before = (ece.value, ece.before) if ece else (None, None)
    if value is not None and before is not None and value > before:
        yield Finding(f"Calibration made the expected error larger: {number(before)} to {number(value)}", "calibration")


def _expectations(record: Record) -> Iterator[Finding]:
    for each in record.validation.expectations if record.validation else ():
        if each.success:
            continue
        weight = "Critical data expectation" if each.critical else "Data expectation"
        where = f" on {each.column}" if each.column else ""
        seen = plain(each.observed)
        yield Finding(f"{weight} {each.name}{where} failed" + ("" if seen == MISSING else f": {seen}"), "data")


def _is_clear(change: Measure) -> bool:
    return has_interval(change) and (change.high < 0 or change.low > 0)
