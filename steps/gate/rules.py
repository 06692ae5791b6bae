"""Each rule as a function: evidence and threshold side by side, and why it fails where it does."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from rewardlab.reports import RuleOutcome
from steps.gate.evidence import Difference, Evidence, accuracy, count, difference, look_up
from steps.gate.policy import AuditLimit, BoundedDrift, Freshness, GateConfig, Limit, MinimumSample
from steps.registry.promotable import CLOCKS_APART


def outcomes(config: GateConfig, evidence: Evidence) -> Iterator[RuleOutcome]:
    """Yield the outcome of each rule of a policy."""
    yield about_this_bundle(evidence)
    for limit in config.limits:
        yield within(limit, evidence)
    for audit in config.audits:
        yield audited(audit, evidence)
    share = "export.parity.share_of_tolerance"
    yield within(Limit(name="engines agree", evidence=share, minimum=0.0, maximum=config.parity.maximum), evidence)
    if config.sample:
        yield enough(config.sample, evidence)
    yield from against_champion(config, evidence)
    if config.drift:
        yield against_anchor(config.drift, evidence)
    if config.freshness:
        yield from fresh(config.freshness, evidence)


def about_this_bundle(evidence: Evidence) -> RuleOutcome:
    """Every report must be about this bundle and this test set."""
    found = {
        "evaluation.bundle": evidence.evaluation.get("bundle"),
        "audit.bundle": evidence.audit.get("bundle"),
        "export.digest": evidence.export.get("digest"),
        "evaluation.test_digest": evidence.evaluation.get("test_digest"),
        "audit.test_digest": evidence.audit.get("test_digest"),
    }
    wanted = {name: evidence.test_digest if name.endswith("test_digest") else evidence.bundle for name in found}
    stale = [name for name, value in found.items() if not value or value != wanted[name]]
    note = f"{', '.join(stale)} is about something else" if stale else ""
    return _outcome("reports are about this bundle", len(found) - len(stale), f"all {len(found)}", note)


def within(limit: Limit, evidence: Evidence) -> RuleOutcome:
    """The number at a path must lie within bounds."""
    value = look_up(limit.evidence, evidence)
    low = "" if limit.minimum is None else f">= {limit.minimum:g}"
    high = "" if limit.maximum is None else f"<= {limit.maximum:g}"
    if value is None:
        note = f"{limit.evidence} is missing or not a finite number"
    elif limit.minimum is not None and value < limit.minimum:
        note = f"{value:.4g} is below {limit.minimum:g}"
    elif limit.maximum is not None and value > limit.maximum:
        note = f"{value:.4g} is above {limit.maximum:g}"
    else:
        note = ""
    outcome = _outcome(limit.name, value, " and ".join(filter(None, (low, high))), note)
    return replace(outcome, path=limit.evidence)


def audited(audit: AuditLimit, evidence: Evidence) -> RuleOutcome:
    """A probe's rate must lie within bounds, and rest on something."""
    rate = f"audit.probes.{audit.probe}.rate"
    name = f"audit {audit.probe.replace('_', ' ')}" + ("" if audit.end == "value" else f", {audit.end} end")
    bounds = {"minimum": audit.minimum, "maximum": audit.maximum}
    outcome = within(Limit(name=name, evidence=f"{rate}.{audit.end}", **bounds), evidence)
    if look_up(f"{rate}.num", evidence) is None:
        return replace(outcome, verdict="fail", note=f"{rate}.num is not a number of answers")
    return outcome


def enough(sample: MinimumSample, evidence: Evidence) -> RuleOutcome:
    """The accuracy must rest on enough comparisons; differences rest on the same."""
    num = count(accuracy(evidence).get("num"))
    note = "the accuracy is missing, no interval, or rests on no number of comparisons" if num is None else ""
    if num is not None and num < sample.comparisons:
        note = f"{num} are below {sample.comparisons}"
    return _outcome("enough comparisons", num, f">= {sample.comparisons}", note)


def against_champion(config: GateConfig, evidence: Evidence) -> Iterator[RuleOutcome]:
    """A champion gated on this test set must have been compared with; a first candidate needs none."""
    rules = [("not worse than the champion", -config.non_inferior.margin, config.non_inferior.confidence, True)]
    if config.superior:
        rules.append(("better than the champion", config.superior.gain, config.superior.confidence, False))
    champion = evidence.champion
    for name, bound, confidence, inclusive in rules:
        threshold = _threshold(bound, confidence, inclusive=inclusive)
        if champion is None:
            yield _outcome(name, "there is no champion", threshold, "")
        elif champion.test_digest != evidence.test_digest:
            yield _outcome(name, f"{champion.label} was gated on another test set and counts as none", threshold, "")
        else:
            measured = evidence.evaluation.get("champion")
            if not isinstance(measured, Mapping) or measured.get("bundle") != champion.bundle:
                yield _outcome(name, None, threshold, f"the evaluation did not compare with {champion.label}")
            else:
                found = difference(measured, evidence)
                yield _bounded(name, found, (bound, confidence), inclusive=inclusive)


def against_anchor(drift: BoundedDrift, evidence: Evidence) -> RuleOutcome:
    """The anchor that the policy names must have been compared with."""
    name = f"not drifted down from {drift.anchor}"
    measured = evidence.evaluation.get("anchor")
    if not isinstance(measured, Mapping) or measured.get("model") != drift.anchor:
        threshold = _threshold(-drift.margin, drift.confidence, inclusive=True)
        return _outcome(name, None, threshold, f"the evaluation did not compare with {drift.anchor}")
    return _bounded(name, difference(measured, evidence), (-drift.margin, drift.confidence), inclusive=True)


def fresh(freshness: Freshness, evidence: Evidence) -> Iterator[RuleOutcome]:
    """Evidence and data must not be older than the policy says, nor from the future."""
    for name, days, said in _times(freshness, evidence):
        moment = _moment(said)
        age = None if moment is None else (evidence.now - moment) / timedelta(days=1)
        note = "when it was made is not known" if age is None else ""
        if age is not None and age < -CLOCKS_APART / timedelta(days=1):
            note = f"it was made in the future, {said}"
        elif age is not None and age > days:
            note = f"{age:.1f} days are more than {days:g}"
        yield _outcome(name, age, f"<= {days:g} days", note)


def fresh_until(freshness: Freshness, evidence: Evidence) -> datetime:
    """Return when evidence and data that are fresh will first be older than the policy says."""
    times = _times(freshness, evidence)
    return min(moment + timedelta(days=days) for _, days, said in times if (moment := _moment(said)))


def _times(freshness: Freshness, evidence: Evidence) -> list[tuple[str, float, object]]:
    """Return what must be fresh: its name, for how many days, and when it was made."""
    times = (
        ("the evidence is fresh", freshness.evidence_days, evidence.export.get("made")),
        ("the data are fresh", freshness.data_days, evidence.data_time),
    )
    return [(name, days, said) for name, days, said in times if days is not None]


def _bounded(name: str, found: Difference | str, bound: tuple[float, float], *, inclusive: bool) -> RuleOutcome:
    """The lower end of a difference's interval of at least a confidence must not be below (or at) a bound."""
    least, confidence = bound
    threshold = _threshold(least, confidence, inclusive=inclusive)
    if isinstance(found, str):
        return _outcome(name, None, threshold, found)
    if found.confidence < confidence:
        note = f"the interval has confidence {found.confidence:g}, the rule asks for {confidence:g}"
    elif found.low < least:
        note = f"{found.low:+.4f} is below {least:g}"
    elif found.low == least and not inclusive:
        note = f"{found.low:+.4f} is not above {least:g}"
    else:
        note = ""
    return _outcome(name, found.low, threshold, note)


def _threshold(bound: float, confidence: float, *, inclusive: bool) -> str:
    sign = ">=" if inclusive else ">"
    return f"lower end of the accuracy difference ({confidence:.0%}) {sign} {bound:g}"


def _moment(said: object) -> datetime | None:
    """Return the time that an ISO text names; one without a zone is none."""
    try:
        moment = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


def _outcome(name: str, evidence: float | str | None, threshold: str, note: str) -> RuleOutcome:
    return RuleOutcome(name=name, evidence=evidence, threshold=threshold, verdict="fail" if note else "pass", note=note)
