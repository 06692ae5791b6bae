import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from rewardlab.files import file_digest
from steps.gate import (
    AuditLimit,
    BoundedDrift,
    Freshness,
    GateConfig,
    GateReport,
    Limit,
    MinimumSample,
    NonInferior,
    Parity,
    SignOff,
    Superior,
    decision,
    gate,
    read_evidence,
)
from steps.gate.evidence import Difference, difference, interval, share
from steps.registry.client import ChampionRecord
from tests.gate_cases import CHAMPION, NOW, Case, at, case, cases, evidence, may_pass, policies

LIMIT = Limit(name="accurate", evidence="evaluation.metrics.accuracy.low", minimum=0.5)
POLICY = GateConfig(
    limits=(LIMIT,),
    audits=(AuditLimit(probe="refusal_order", minimum=0.4), AuditLimit(probe="flattery", end="high", maximum=0.7)),
    parity=Parity(maximum=0.5),
    sample=MinimumSample(comparisons=200),
    non_inferior=NonInferior(margin=0.02),
    superior=Superior(gain=0.05),
    drift=BoundedDrift(anchor="m/0", margin=0.03),
    freshness=Freshness(evidence_days=30.0, data_days=60.0),
    sign_off=SignOff(people=2),
)
BOUND = "lower end of the accuracy difference (95%)"
Row = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def decide(given: Case, folder: Path, policy: GateConfig = POLICY) -> GateReport:
    return gate(policy, evidence(given), folder / "gate.json")


def row(name: str, given: Case, folder: Path, policy: GateConfig = POLICY) -> Row:
    """Return a rule's row, without its name."""
    decide(given, folder, policy)
    rows = json.loads((folder / "gate.json").read_text())["rules"]
    (found,) = (each for each in rows if each["name"] == name)
    assert found["verdict"] == ("fail" if found["note"] else "pass")
    return {key: found[key] for key in ("evidence", "threshold", "note")}


def test_a_better_candidate_passes_and_every_rule_is_told(folder: Path) -> None:
    report = decide(case(), folder)
    written = json.loads((folder / "gate.json").read_text())
    assert (report.verdict, report.promote, report.reason) == ("pass", True, "all 11 rules hold")
    assert report.digest == file_digest(folder / "gate.json")
    about = {key: written[key] for key in ("verdict", "reason", "bundle", "champion", "test_digest", "decided")}
    assert about == {
        "verdict": "pass",
        "reason": "all 11 rules hold",
        "bundle": "new",
        "champion": "m/1",
        "test_digest": "test",
        "decided": "2026-11-25T12:00:00+00:00",
    }
    assert GateConfig.from_dict(written["policy"]) == POLICY
    rows = [(each["name"], each["evidence"], each["threshold"], each["verdict"]) for each in written["rules"]]
    assert rows == [
        ("reports are about this bundle", 5, "all 5", "pass"),
        ("accurate", 0.71, ">= 0.5", "pass"),
        ("audit refusal order", 0.5, ">= 0.4", "pass"),
        ("audit flattery, high end", 0.625, "<= 0.7", "pass"),
        ("engines agree", 0.5, ">= 0 and <= 0.5", "pass"),
        ("enough comparisons", 200, ">= 200", "pass"),
        ("not worse than the champion", 0.0625, f"{BOUND} >= -0.02", "pass"),
        ("better than the champion", 0.0625, f"{BOUND} > 0.05", "pass"),
        ("not drifted down from m/0", 0.0625, f"{BOUND} >= -0.03", "pass"),
        ("the evidence is fresh", 2.0, "<= 30 days", "pass"),
        ("the data are fresh", 3.0, "<= 60 days", "pass"),
    ]
    paths = [each["path"] for each in written["rules"] if each["path"]]
    assert paths == [
        "evaluation.metrics.accuracy.low",
        "audit.probes.refusal_order.rate.value",
        "audit.probes.flattery.rate.high",
        "export.parity.share_of_tolerance",
    ]


def test_rules_that_are_not_given_are_not_held(folder: Path) -> None:
    decide(case(), folder, GateConfig(limits=(LIMIT,)))
    names = [each["name"] for each in json.loads((folder / "gate.json").read_text())["rules"]]
    assert names == ["reports are about this bundle", "accurate", "engines agree", "not worse than the champion"]


@pytest.mark.parametrize(
    ("path", "value", "note"),
    [
        ("evaluation.bundle", "old", "evaluation.bundle"),
        ("audit.bundle", None, "audit.bundle"),
        ("export.digest", ..., "export.digest"),
        ("evaluation.test_digest", "", "evaluation.test_digest"),
        ("audit.test_digest", "new", "audit.test_digest"),
    ],
)
def test_reports_about_something_else_are_named(path: str, value: Any, note: str, folder: Path) -> None:
    found = row("reports are about this bundle", at(case(), path, value), folder)
    assert found == {"evidence": 4, "threshold": "all 5", "note": f"{note} is about something else"}


def test_every_report_that_is_about_something_else_is_named(folder: Path) -> None:
    given = at(at(case(), "audit.bundle", "x"), "audit.test_digest", "x")
    note = "audit.bundle, audit.test_digest is about something else"
    assert row("reports are about this bundle", given, folder)["note"] == note


@pytest.mark.parametrize(
    ("value", "found", "note"),
    [
        (0.5, 0.5, ""),
        (0.499, 0.499, "0.499 is below 0.5"),
        (0.75, 0.75, ""),
        (0.751, None, "evaluation.metrics.accuracy.low is missing or not a finite number"),  # above the value
        *(
            (odd, None, "evaluation.metrics.accuracy.low is missing or not a finite number")
            for odd in (None, True, "1")
        ),
    ],
)
def test_a_limit_is_inclusive(value: Any, found: float | None, note: str, folder: Path) -> None:
    given = at(case(), "evaluation.metrics.accuracy.low", value)
    assert row("accurate", given, folder) == {"evidence": found, "threshold": ">= 0.5", "note": note}


@pytest.mark.parametrize(
    ("value", "note"), [(0.01, ""), (0.05, ""), (0.0501, "0.0501 is above 0.05"), (0.0099, "0.0099 is below 0.01")]
)
def test_a_limit_may_have_two_bounds(value: float, note: str, folder: Path) -> None:
    limit = Limit(name="x", evidence="evaluation.metrics.ece.value", minimum=0.01, maximum=0.05)
    given = at(case(), "evaluation.metrics.ece.value", value)
    found = row("x", given, folder, GateConfig(limits=(limit,)))
    assert found == {"evidence": value, "threshold": ">= 0.01 and <= 0.05", "note": note}


@pytest.mark.parametrize("bounds", [{"minimum": -1.0}, {"maximum": 1.0}])
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 10**400, True, "0.5", None, ..., []])
def test_what_is_no_finite_number_is_within_no_limit(odd: Any, bounds: dict[str, float], folder: Path) -> None:
    limit = Limit(name="x", evidence="evaluation.metrics.ece.value", **bounds)
    found = row("x", at(case(), limit.evidence, odd), folder, GateConfig(limits=(limit,)))
    assert (found["evidence"], found["note"]) == (None, f"{limit.evidence} is missing or not a finite number")


@pytest.mark.parametrize(
    "path", ["nothing.at.all", "evaluation", "champion.bundle", "evaluation.metrics.accuracy.low.x"]
)
def test_a_path_to_nothing_fails(path: str, folder: Path) -> None:
    policy = GateConfig(limits=(Limit(name="x", evidence=path, minimum=0.0),))
    assert row("x", case(), folder, policy)["note"] == f"{path} is missing or not a finite number"


def test_the_rounding_of_an_interval_is_no_defect(folder: Path) -> None:
    rate = {"value": 0.0, "low": 2.7755575615628914e-17, "high": 0.24249400665524085, "num": 12}  # wilson(0, 12)
    given = at(case(), "audit.probes.refusal_order.rate", rate)
    assert row("audit refusal order", given, folder)["evidence"] == 0.0


def test_rounding_ends_at_a_millionth() -> None:
    assert interval({"value": -1e-6, "low": 0.0, "high": 0.0}) == (-1e-6, 0.0, 0.0)
    assert interval({"value": 1e-6, "low": 0.0, "high": 0.0}) == (1e-6, 0.0, 0.0)
    assert interval({"value": 1.1e-6, "low": 0.0, "high": 0.0}) is None
    assert share({"value": 0.5, "low": -1e-6, "high": 1 + 1e-6}) == (0.5, -1e-6, 1 + 1e-6)
    assert share({"value": 0.5, "low": -1.1e-6, "high": 1.0}) is None
    given = at(case(), "evaluation.metrics.accuracy", {"value": 1e-6, "low": 0.0, "high": 1.0, "num": 200})
    given = at(given, "evaluation.champion.accuracy", {"value": 0.0, "low": 0.0, "high": 1.0})
    given = at(given, "evaluation.champion.difference", {"value": 0.0, "low": -0.5, "high": 0.5, "num": 200})
    assert difference(given["evaluation"]["champion"], evidence(given)) == Difference(low=-0.5, confidence=0.95)


def test_an_audit_must_rest_on_answers(folder: Path) -> None:
    note = "audit.probes.refusal_order.rate.num is not a number of answers"
    for num in (0, ..., 40.0, True):
        given = at(case(), "audit.probes.refusal_order.rate.num", num)
        assert row("audit refusal order", given, folder)["note"] == note
    low = at(case(), "audit.probes.refusal_order.rate", {"value": 0.3, "num": 1})
    assert row("audit refusal order", low, folder) == {
        "evidence": 0.3,
        "threshold": ">= 0.4",
        "note": "0.3 is below 0.4",
    }


@pytest.mark.parametrize(("end", "value"), [("low", ...), ("high", ...), ("high", None), ("num", 0), ("num", 10**400)])
def test_half_an_interval_or_one_of_nothing_is_no_evidence(end: str, value: Any, folder: Path) -> None:
    given = at(case(), f"evaluation.metrics.accuracy.{end}", value)
    policy = GateConfig(limits=(Limit(name="x", evidence="evaluation.metrics.accuracy.value", minimum=0.5),))
    note = "evaluation.metrics.accuracy.value is missing or not a finite number"
    assert row("x", given, folder, policy)["note"] == note


@pytest.mark.parametrize(
    ("num", "found", "note"),
    [
        (200, 200, ""),
        (199, 199, "199 are below 200"),
        (200.0, None, "the accuracy is missing, no interval, or rests on no number of comparisons"),
        (True, None, "the accuracy is missing, no interval, or rests on no number of comparisons"),
        (0, None, "the accuracy is missing, no interval, or rests on no number of comparisons"),
        (10**400, None, "the accuracy is missing, no interval, or rests on no number of comparisons"),
    ],
)
def test_a_sample_must_be_large_enough(num: Any, found: Any, note: str, folder: Path) -> None:
    given = at(case(), "evaluation.metrics.accuracy.num", num)
    assert row("enough comparisons", given, folder) == {"evidence": found, "threshold": ">= 200", "note": note}


DIFFERENCE = "evaluation.champion.difference"
SPOILT = [
    (f"{DIFFERENCE}", None, "the difference is missing or no interval of finite numbers"),
    (f"{DIFFERENCE}.low", math.nan, "the difference is missing or no interval of finite numbers"),
    (f"{DIFFERENCE}.high", 0.1, "the difference is missing or no interval of finite numbers"),
    ("evaluation.champion.accuracy", ..., "the difference is missing or no interval of finite numbers"),
    ("evaluation.champion.accuracy.high", 1.1, "the difference is missing or no interval of finite numbers"),
    ("evaluation.champion.accuracy.low", -0.1, "the difference is missing or no interval of finite numbers"),
    ("evaluation.metrics", [], "the difference is missing or no interval of finite numbers"),
    (f"{DIFFERENCE}.num", 100, "the difference rests on 100 comparisons, the accuracy on 200"),
    (f"{DIFFERENCE}.num", "200", "the difference rests on 200 comparisons, the accuracy on 200"),
    (f"{DIFFERENCE}.value", 0.1251, "the difference is not the candidate's accuracy minus the other's"),
    (f"{DIFFERENCE}.value", 0.1249, "the difference is not the candidate's accuracy minus the other's"),
    (f"{DIFFERENCE}.confidence", 0.9, "the interval has confidence 0.9, the rule asks for 0.95"),
    (f"{DIFFERENCE}.confidence", 1.0, "the interval's confidence is no share"),
    (f"{DIFFERENCE}.confidence", 0, "the interval's confidence is no share"),
    (f"{DIFFERENCE}.confidence", "high", "the interval's confidence is no share"),
    ("evaluation.champion.test_digest", "other", "the comparison is about another test set"),
    ("evaluation.champion.bundle", "other", "the evaluation did not compare with m/1"),
    ("evaluation.champion", None, "the evaluation did not compare with m/1"),
]


@pytest.mark.parametrize(("path", "value", "note"), SPOILT)
def test_a_comparison_that_says_nothing_is_no_comparison(path: str, value: Any, note: str, folder: Path) -> None:
    found = row("not worse than the champion", at(case(), path, value), folder)
    assert (found["note"], found["threshold"]) == (note, f"{BOUND} >= -0.02")
    assert row("better than the champion", at(case(), path, value), folder)["note"] == note


def test_a_wider_interval_is_sure_enough(folder: Path) -> None:
    assert decide(at(case(), f"{DIFFERENCE}.confidence", 0.99), folder).promote


def test_swapped_sides_are_seen(folder: Path) -> None:
    given = case()
    ours, theirs = given["evaluation"]["metrics"]["accuracy"], given["evaluation"]["champion"]["accuracy"]
    given = at(at(given, "evaluation.metrics.accuracy", theirs), "evaluation.champion.accuracy", ours)
    note = "the difference is not the candidate's accuracy minus the other's"
    assert row("not worse than the champion", given, folder)["note"] == note


def moved(side: str, low: float) -> Case:
    """Return a case whose difference has this lower end."""
    return at(case(), f"evaluation.{side}.difference.low", low)


def test_bounds_of_differences(folder: Path) -> None:
    worse = "not worse than the champion"
    assert row(worse, moved("champion", -0.02), folder)["note"] == ""
    assert row(worse, moved("champion", -0.0201), folder) == {
        "evidence": -0.0201,
        "threshold": f"{BOUND} >= -0.02",
        "note": "-0.0201 is below -0.02",
    }
    better = "better than the champion"
    assert row(better, moved("champion", 0.0501), folder)["note"] == ""
    assert row(better, moved("champion", 0.05), folder)["note"] == "+0.0500 is not above 0.05"
    assert row(better, moved("champion", 0.049), folder)["note"] == "+0.0490 is below 0.05"
    drifted = "not drifted down from m/0"
    assert row(drifted, moved("anchor", -0.03), folder)["note"] == ""
    assert row(drifted, moved("anchor", -0.0301), folder)["note"] == "-0.0301 is below -0.03"


@pytest.mark.parametrize(
    ("path", "value", "note"),
    [
        ("evaluation.anchor", ..., "the evaluation did not compare with m/0"),
        ("evaluation.anchor.model", "m/1", "the evaluation did not compare with m/0"),
        ("evaluation.anchor.bundle", "new", "the candidate was compared with itself"),
        ("evaluation.anchor.bundle", "", "there is no comparison"),
        ("evaluation.anchor.bundle", 7, "there is no comparison"),
        ("evaluation.anchor.test_digest", "other", "the comparison is about another test set"),
    ],
)
def test_the_anchor_must_be_the_one_that_was_compared_with(path: str, value: Any, note: str, folder: Path) -> None:
    found = row("not drifted down from m/0", at(case(), path, value), folder)
    assert found == {"evidence": None, "threshold": f"{BOUND} >= -0.03", "note": note}


def test_a_first_candidate_needs_no_champion(folder: Path) -> None:
    given = at(case() | {"champion": None}, "evaluation.champion", None)
    assert decide(given, folder).promote
    for name, bound in (("not worse than the champion", ">= -0.02"), ("better than the champion", "> 0.05")):
        told = {"evidence": "there is no champion", "threshold": f"{BOUND} {bound}", "note": ""}
        assert row(name, given, folder) == told
    assert json.loads((folder / "gate.json").read_text())["champion"] == ""


def test_a_champion_of_another_test_set_counts_as_none(folder: Path) -> None:
    other = ChampionRecord(label="m/1", bundle="old", test_digest="another")
    given = at(case() | {"champion": other}, "evaluation.champion", None)
    assert decide(given, folder).promote
    said = "m/1 was gated on another test set and counts as none"
    told = {"evidence": said, "threshold": f"{BOUND} > 0.05", "note": ""}
    assert row("better than the champion", given, folder) == told


def test_the_champions_own_bundle_is_unchanged(folder: Path) -> None:
    same = ChampionRecord(label="m/1", bundle="new", test_digest="test")
    for spoilt in (case(), at(case(), "export.digest", "old")):
        report = decide(spoilt | {"champion": same}, folder)
        assert (report.verdict, report.promote) == ("unchanged", False)
        assert report.reason == "the bundle is the champion's own (m/1)"


@pytest.mark.parametrize(
    ("days", "note"),
    [
        (30, ""),
        (30.06, "30.1 days are more than 30"),
        (-5 / 24 / 60, ""),
        (-6 / 24 / 60, "it was made in the future, 2026-11-25T12:06:00+00:00"),
    ],
)
def test_evidence_must_be_fresh(days: float, note: str, folder: Path) -> None:
    given = at(case(), "export.made", (NOW - timedelta(days=days)).isoformat())
    found = row("the evidence is fresh", given, folder)
    assert found["note"] == note
    assert found["evidence"] == pytest.approx(days)


@pytest.mark.parametrize("said", ["", "x", None, 7, "2026-11-25T11:00:00", ...])
def test_a_time_that_is_not_known_is_not_fresh(said: Any, folder: Path) -> None:
    found = row("the evidence is fresh", at(case(), "export.made", said), folder)
    assert found == {"evidence": None, "threshold": "<= 30 days", "note": "when it was made is not known"}
    stale = row("the data are fresh", case() | {"data_time": "2026-09-01T00:00:00+02:00"}, folder)
    assert stale["note"] == "85.6 days are more than 60"


@pytest.mark.parametrize(
    ("days", "until"),
    [
        ({"evidence_days": 30.0}, "2026-12-23T12:00:00+00:00"),
        ({"data_days": 60.0}, "2027-01-21T12:00:00+00:00"),
        ({"evidence_days": 30.0, "data_days": 30.0}, "2026-12-22T12:00:00+00:00"),
    ],
)
def test_a_decision_says_how_long_it_holds(days: dict[str, float], until: str) -> None:
    policy = GateConfig(limits=(LIMIT,), freshness=Freshness(**days))
    assert decision(policy, evidence(case())).fresh_until == until
    unknown = at(case(), "export.made", "x") | {"data_time": ""}
    assert decision(policy, evidence(unknown)).fresh_until is None
    assert decision(GateConfig(limits=(LIMIT,)), evidence(case())).fresh_until is None


def test_a_rejection_names_every_rule_that_failed(folder: Path) -> None:
    given = at(at(case(), "evaluation.metrics.accuracy.low", 0.4), "export.parity.share_of_tolerance", 0.6)
    report = decide(given, folder)
    assert (report.verdict, report.promote) == ("fail", False)
    assert report.reason == "accurate: 0.4 is below 0.5; engines agree: 0.6 is above 0.5"


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: GateConfig(limits=()), "a gate without limits would let anything through: give at least one"),
        (lambda: GateConfig(limits=(LIMIT, LIMIT)), r"rules have different names, got \['accurate', 'accurate'\]"),
        (
            lambda: GateConfig(limits=(LIMIT,), audits=(AuditLimit(probe="a", minimum=0.0),) * 2),
            r"a probe is limited once for each end, got \[\('a', 'value'\), \('a', 'value'\)\]",
        ),
        (lambda: Limit(name="x", evidence="y"), r"the rule 'x' needs a finite minimum or maximum, got \[\]"),
        (lambda: Limit(name="x", evidence="y", minimum=math.nan), r"the rule 'x' needs a finite .* got \[nan\]"),
        (
            lambda: Limit(name="x", evidence="y", maximum=math.inf, minimum=0.0),
            r"the rule 'x' needs .* got \[0.0, inf\]",
        ),
        (lambda: Limit(name="x", evidence="y", minimum=2.0, maximum=1.0), "the rule 'x' can never pass: 2.0 > 1.0"),
        (lambda: AuditLimit(probe="x"), "the rule 'audit x' needs a finite minimum or maximum"),
        (lambda: AuditLimit(probe="x", minimum=1.0, maximum=0.0), "the rule 'audit x' can never pass"),
        *(
            (lambda maximum=maximum: Parity(maximum=maximum), rf"parity is a share .* in \(0, 1\], got {maximum}")
            for maximum in (0.0, 1.01, math.nan)
        ),
        (lambda: MinimumSample(comparisons=0), "a sample holds at least 1 comparison, got 0"),
        *(
            (
                lambda margin=margin: NonInferior(margin=margin),
                rf"a non-inferiority margin is in \[0, 1\), got {margin}",
            )
            for margin in (-0.01, 1.0, math.nan)
        ),
        (lambda: NonInferior(confidence=0.4), r"a confidence is in \[0.5, 1\), got 0.4"),
        (lambda: Superior(gain=-0.01), r"a gain is in \[0, 1\), got -0.01"),
        (lambda: Superior(confidence=1.0), r"a confidence is in \[0.5, 1\), got 1.0"),
        *(
            (lambda a=a: BoundedDrift(anchor=a), f"an anchor is NAME/VERSION, got {a!r}")
            for a in ("", "3", "m/", "/3", "m//")
        ),
        (lambda: BoundedDrift(anchor="m/3", margin=1.0), r"a drift's margin is in \[0, 1\), got 1.0"),
        (lambda: BoundedDrift(anchor="m/3", confidence=0.0), r"a confidence is in \[0.5, 1\), got 0.0"),
        (Freshness, r"freshness is days, a century at most, for evidence, data or both, got \[\]"),
        (lambda: Freshness(evidence_days=0.0), r"freshness is days, .*, got \[0.0\]"),
        (lambda: Freshness(data_days=36525.1), r"freshness is days, .*, got \[36525.1\]"),
        (lambda: Freshness(evidence_days=1.0, data_days=math.inf), r"freshness is .*, got \[1.0, inf\]"),
        (lambda: SignOff(people=0), "at least one person signs for at least one alias, got 0"),
        (lambda: SignOff(aliases=()), "at least one person signs for at least one alias, got 1"),
    ],
)
def test_a_rule_that_cannot_decide_is_refused(make: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}"):
        make()


def test_the_least_that_a_rule_may_say() -> None:
    assert (Limit(name="x", evidence="y", minimum=1.0, maximum=1.0).minimum, Parity().maximum) == (1.0, 1.0)
    assert (MinimumSample(comparisons=1).comparisons, NonInferior(margin=0.0, confidence=0.5).confidence) == (1, 0.5)
    assert (NonInferior().margin, NonInferior().confidence, Superior().gain, Superior().confidence) == (
        0.02,
        0.95,
        0,
        0.95,
    )
    assert (BoundedDrift(anchor="m/1").margin, BoundedDrift(anchor="m/1").confidence) == (0.03, 0.95)
    assert (SignOff().aliases, SignOff().people) == (("champion",), 1)
    assert AuditLimit(probe="x", minimum=0.0).end == "value"
    assert Freshness(evidence_days=36525.0, data_days=0.001).evidence_days == 36525


@pytest.mark.parametrize(
    "rule",
    [
        {"limits": [{"name": "x", "evidence": "y", "minimum": 0, "never": 1}]},
        {"limits": [{"name": "x", "evidence": "y", "minimum": "0"}]},
        {"limits": [{"name": "x", "evidence": "y", "minimum": 0}], "unheard_of": {}},
        {"limits": [{"name": "x", "evidence": "y", "minimum": 0}], "sign_off": {"aliases": ["staging"]}},
        {"limits": [{"name": "x", "evidence": "y", "minimum": 0}], "audits": [{"probe": "x", "end": "middle"}]},
    ],
)
def test_an_unknown_rule_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has no|is a|needs|typing"):
        GateConfig.from_dict(rule)


def written(folder: Path) -> dict[str, Path]:
    found = {name: folder / f"{name}.json" for name in ("evaluation", "audit", "export")}
    for name, path in found.items():
        path.write_text(json.dumps(case()[name]))
    return found


def test_reports_are_read_from_files(folder: Path) -> None:
    about: dict[str, Any] = {"bundle": "new", "test_digest": "test", "data_time": case()["data_time"], "now": NOW}
    assert read_evidence(written(folder), champion=CHAMPION.to_json(), **about) == evidence(case())
    assert read_evidence(written(folder), champion="", **about) == evidence(case() | {"champion": None})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"bundle": "old", "bundle": "new"}', "it says bundle twice"),
        ('{"a": {"c": 1, "b": 1, "b": 2, "c": 2, "d": 1}}', "it says b, c twice"),
        ("[]", "it holds no JSON object"),
        ("", "Expecting value"),
    ],
)
@pytest.mark.parametrize("name", ["evaluation", "audit", "export"])
def test_a_doubtful_report_is_refused(name: str, text: str, complaint: str, folder: Path) -> None:
    paths = written(folder)
    paths[name].write_text(text)
    with pytest.raises(ValueError, match=rf"{name}\.json is no report: {complaint}"):
        read_evidence(paths, bundle="new", test_digest="test", champion="", data_time="", now=NOW)


QUIET = [HealthCheck.too_slow]


@settings(max_examples=1000, deadline=None, suppress_health_check=QUIET)
@given(policies(), cases())
def test_generated_cases_agree_with_plain_arithmetic(policy: GateConfig, given: Case) -> None:
    assert (decision(policy, evidence(given)).verdict == "pass") == may_pass(policy.to_dict(), given)


@pytest.mark.campaign
@settings(max_examples=100_000, deadline=None, suppress_health_check=QUIET)
@given(policies(), cases())
def test_a_hundred_thousand_generated_cases(policy: GateConfig, given: Case) -> None:
    assert (decision(policy, evidence(given)).verdict == "pass") == may_pass(policy.to_dict(), given)
