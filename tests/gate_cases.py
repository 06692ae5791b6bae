"""Cases for the gate: evidence that passes, ways to spoil it, and an oracle that shares no code with the gate."""

import copy
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from steps.gate import Evidence, GateConfig
from steps.registry.client import ChampionRecord

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CHAMPION = ChampionRecord(label="m/1", bundle="old", test_digest="test", entry="e" * 64)
PROBES = ("flattery", "refusal_order")
Case = dict[str, Any]


def interval(value: float, half: float, num: int = 200) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "num": num}


def case() -> Case:
    """Return a case that every policy of `policies` passes."""
    ours, theirs = interval(0.75, 0.04), interval(0.625, 0.04)
    compared = {"model": "m/1", "bundle": "old", "accuracy": theirs, "difference": interval(0.125, 0.0625)}
    anchor = {"model": "m/0", "bundle": "oldest", "test_digest": "test"}
    return {
        "evaluation": {
            "bundle": "new",
            "test_digest": "test",
            "metrics": {"accuracy": ours, "ece": {"value": 0.03}},
            "champion": compared,
            "anchor": copy.deepcopy(compared) | anchor,
        },
        "audit": {
            "bundle": "new",
            "test_digest": "test",
            "probes": {name: {"rate": interval(0.5, 0.125, 40)} for name in PROBES},
        },
        "export": {
            "digest": "new",
            "parity": {"share_of_tolerance": 0.5},
            "made": (NOW - timedelta(days=2)).isoformat(),
        },
        "bundle": "new",
        "test_digest": "test",
        "champion": CHAMPION,
        "data_time": (NOW - timedelta(days=3)).isoformat(),
        "now": NOW,
    }


def evidence(given: Case) -> Evidence:
    return Evidence(**given)


def at(given: Case, path: str, value: Any) -> Case:
    """Return the case with the value at a path replaced; `...` removes it. A path that is gone stays so."""
    *keys, last = path.split(".")
    changed = dict(given)
    place: Any = changed
    for key in keys:
        if not isinstance(place.get(key), dict):
            return given
        place[key] = dict(place[key])
        place = place[key]
    place.pop(last, None)
    if value is not ...:
        place[last] = value
    return changed


def paths(value: Any, name: str = "") -> list[str]:
    """Return the path of every value in nested objects, the objects included."""
    if not isinstance(value, dict):
        return [name]
    below = [path for key, each in value.items() for path in paths(each, f"{name}.{key}".lstrip("."))]
    return [*filter(None, [name]), *below]


PLACES = [path for name in ("evaluation", "audit", "export") for path in paths(case()[name], name) if "." in path]
ODD = [..., None, math.nan, math.inf, -math.inf, 10**400, "0.9", "", True, False, [], {}, "other", "new", "old", "m/0"]
NEAR = [-1.0, -0.05, -0.03, -0.02, 0, 0.0, 0.01, 0.05, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.8, 1, 1.0, 40, 199, 200]
TIMES = [
    "",
    "yesterday",
    "2026-11-20",
    *((NOW + timedelta(days=days)).isoformat() for days in (-40, -29.9, -30, -30.1, -1, 0, 0.003, 0.004, 9)),
    (NOW - timedelta(days=1)).replace(tzinfo=None).isoformat(),
    (NOW - timedelta(days=30)).astimezone(timezone(timedelta(hours=5))).isoformat(),
]
CHAMPIONS = [CHAMPION, CHAMPION, None, ChampionRecord(label="m/1", bundle="new", test_digest="test")]
CHAMPIONS += [ChampionRecord(label="m/2", bundle="other", test_digest="test")]
CHAMPIONS += [ChampionRecord(label="m/1", bundle="old", test_digest="another")]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a case: the passing one, spoilt in none to three places."""
    drawn = case() | {"champion": draw(st.sampled_from(CHAMPIONS))}
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.integers(0, 9))
        if kind == 0:
            drawn["data_time"] = draw(st.sampled_from(TIMES))
        elif kind == 1:
            drawn = at(drawn, "export.made", draw(st.sampled_from([*TIMES, *ODD])))
        elif kind == 2:
            drawn = at(drawn, draw(st.sampled_from(PLACES)), draw(st.floats()))
        elif kind == 3:  # the sides of a comparison swapped
            side = draw(st.sampled_from(("champion", "anchor")))
            ours, theirs = drawn["evaluation"].get("metrics"), drawn["evaluation"].get(side)
            if isinstance(ours, dict) and isinstance(theirs, dict):
                drawn = at(drawn, "evaluation.metrics.accuracy", theirs.get("accuracy"))
                drawn = at(drawn, f"evaluation.{side}.accuracy", ours.get("accuracy"))
        else:
            drawn = at(drawn, draw(st.sampled_from(PLACES)), draw(st.sampled_from([*ODD, *NEAR])))
    return drawn


def policies() -> st.SearchStrategy[GateConfig]:
    """Draw a policy: every rule there is, on or off, with thresholds that cases come near to."""

    def build(**parts: Any) -> GateConfig:
        return GateConfig.from_dict({"limits": [{"name": "low", **parts.pop("limit")}], **parts})

    bounds = st.sampled_from(({"minimum": 0.5}, {"maximum": 0.71}, {"minimum": 0.03, "maximum": 0.75}))
    where = st.sampled_from(("evaluation.metrics.accuracy.low", "evaluation.metrics.ece.value", "audit.probes.x.y"))
    audit = {"probe": "flattery", "end": "high", "maximum": 0.625}
    margin, confidence = st.sampled_from((0.0, 0.02, 0.05)), st.sampled_from((0.9, 0.95, 0.99))
    return st.builds(
        build,
        limit=st.builds(lambda path, bound: {"evidence": path, **bound}, where, bounds),
        audits=st.sampled_from(((), (audit,), (audit, {"probe": "refusal_order", "minimum": 0.5}))),
        parity=st.sampled_from(({"maximum": 1.0}, {"maximum": 0.5})),
        sample=st.sampled_from((None, {"comparisons": 1}, {"comparisons": 200})),
        non_inferior=st.builds(lambda m, c: {"margin": m, "confidence": c}, margin, confidence),
        superior=st.sampled_from((None, {"gain": 0.0}, {"gain": 0.0625})),
        drift=st.sampled_from((None, {"anchor": "m/0", "margin": 0.03})),
        freshness=st.sampled_from((None, {"evidence_days": 30.0}, {"data_days": 30.0, "evidence_days": 30.0})),
    )


def may_pass(policy: Mapping[str, Any], given: Case) -> bool:
    """Say by plain arithmetic in fractions whether a case may pass; whatever cannot be computed may not."""
    try:
        return all(_conditions(policy, given))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return False


def _conditions(policy: Mapping[str, Any], given: Case) -> list[bool]:
    evaluation, audit, export = given["evaluation"], given["audit"], given["export"]
    champion, wanted = given["champion"], (given["bundle"], given["test_digest"])
    holds = [
        (evaluation["bundle"], evaluation["test_digest"]) == wanted,
        (audit["bundle"], audit["test_digest"]) == wanted,
        export["digest"] == given["bundle"],
        0 <= _fraction(export["parity"]["share_of_tolerance"]) <= _fraction(policy["parity"]["maximum"]),
        champion is None or champion.bundle != given["bundle"],  # that would be `unchanged`
    ]
    for limit in policy["limits"]:
        document: Any = given
        for key in limit["evidence"].split("."):
            parent, document = document, document[key]
        _sound(parent)
        holds += _within(document, limit)
    for each in policy["audits"]:
        rate = audit["probes"][each["probe"]]["rate"]
        _sound(rate)
        holds += [*_within(rate[each["end"]], each), _whole(rate["num"]) >= 1]
    if policy["sample"]:
        accuracy = evaluation["metrics"]["accuracy"]
        holds += [_whole(accuracy["num"]) >= policy["sample"]["comparisons"], *_shares(accuracy)]
    if champion is not None and champion.test_digest == given["test_digest"]:
        holds += [evaluation["champion"]["bundle"] == champion.bundle]
        holds += _compared(given, "champion", policy["non_inferior"], -_fraction(policy["non_inferior"]["margin"]))
        if policy["superior"]:
            gain = _fraction(policy["superior"]["gain"])
            low = _compared(given, "champion", policy["superior"], gain)
            holds += [*low, _fraction(evaluation["champion"]["difference"]["low"]) != gain]
    return holds + _against_anchor(policy, given) + _fresh(policy, given)


def _against_anchor(policy: Mapping[str, Any], given: Case) -> list[bool]:
    if not policy["drift"]:
        return []
    same = given["evaluation"]["anchor"]["model"] == policy["drift"]["anchor"]
    return [same, *_compared(given, "anchor", policy["drift"], -_fraction(policy["drift"]["margin"]))]


def _fresh(policy: Mapping[str, Any], given: Case) -> list[bool]:
    days = {name: value for name, value in (policy["freshness"] or {}).items() if value is not None}
    said = {"evidence_days": given["export"].get("made"), "data_days": given["data_time"]}
    return [-300 <= _age_seconds(said[name], given["now"]) <= value * 86400 for name, value in days.items()]


def _compared(given: Case, side: str, rule: Mapping[str, Any], least: Fraction) -> list[bool]:
    evaluation = given["evaluation"]
    compared, ours = evaluation[side], evaluation["metrics"]["accuracy"]
    change = compared["difference"]
    gap = _fraction(ours["value"]) - _fraction(compared["accuracy"]["value"]) - _fraction(change["value"])
    return [
        isinstance(compared["bundle"], str) and compared["bundle"] not in ("", given["bundle"]),
        compared.get("test_digest", given["test_digest"]) == given["test_digest"],
        *_shares(ours),
        *_shares(compared["accuracy"]),
        *_ordered(change),
        _whole(change["num"]) == _whole(ours["num"]),
        abs(gap) <= Fraction(1, 10**6),
        Fraction(95, 100) >= Fraction(str(rule["confidence"])),
        _fraction(change["low"]) >= least,
    ]


def _fraction(value: Any) -> Fraction:
    """Return a finite number exactly; bool, NaN, infinity and what is beyond a float raise."""
    if type(value) not in (int, float):
        raise TypeError(value)
    return Fraction(float(value))


def _whole(value: Any) -> int:
    if type(value) is not int or _fraction(value) < 1:
        raise TypeError(value)
    return value


def _sound(estimate: Any) -> None:
    if "low" in estimate or "high" in estimate:
        _ordered(estimate)
    if "num" in estimate:
        _whole(estimate["num"])


def _ordered(estimate: Any) -> list[bool]:
    value, low, high = (_fraction(estimate[name]) for name in ("value", "low", "high"))
    if not low - Fraction(1, 10**6) <= value <= high + Fraction(1, 10**6):
        raise ValueError(estimate)
    return []


def _shares(estimate: Any) -> list[bool]:
    _ordered(estimate)
    return [_fraction(estimate["low"]) >= Fraction(-1, 10**6), _fraction(estimate["high"]) <= 1 + Fraction(1, 10**6)]


def _within(value: Any, bounds: Mapping[str, Any]) -> list[bool]:
    found, least, most = _fraction(value), bounds["minimum"], bounds["maximum"]
    return [least is None or found >= _fraction(least), most is None or found <= _fraction(most)]


def _age_seconds(said: Any, now: datetime) -> float:
    if not isinstance(said, str) or (said[-6:-5] not in ("+", "-") or said[-3:-2] != ":"):
        raise ValueError(said)
    return (now - datetime.fromisoformat(said)).total_seconds()
