import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.gate import Evidence, GateConfig, GateReport, Limit, NonInferior, gate, read_evidence
from steps.registry import ChampionRecord

POLICY = GateConfig(
    limits=(
        Limit(name="accurate", evidence="evaluation.metrics.accuracy.low", minimum=0.5),
        Limit(name="parity", evidence="export.parity.share_of_tolerance", maximum=1.0),
        Limit(name="refuses", evidence="audit.probes.refusal_order.rate.value", minimum=0.6, maximum=1.0),
    ),
    non_inferior=NonInferior(margin=0.02),
)
CHAMPION = ChampionRecord(label="m/1", bundle="old", test_digest="test")


def evidence(champion: ChampionRecord | None = CHAMPION, **changes: Any) -> Evidence:
    values: dict[str, Any] = {
        "evaluation": {
            "bundle": "new",
            "test_digest": "test",
            "metrics": {"accuracy": {"value": 0.7, "low": 0.65}},
            "champion": {"model": "m/1", "bundle": "old", "difference": {"value": 0.01, "low": -0.01}},
        },
        "audit": {"bundle": "new", "test_digest": "test", "probes": {"refusal_order": {"rate": {"value": 0.9}}}},
        "export": {"digest": "new", "parity": {"share_of_tolerance": 0.1}},
    }
    return Evidence(**copy.deepcopy(values | changes), bundle="new", test_digest="test", champion=champion)


def decide(given: Evidence, folder: Path, policy: GateConfig = POLICY) -> GateReport:
    return gate(policy, given, folder / "gate.json")


def broken(given: Evidence, path: str, value: Any) -> Evidence:
    """Return the evidence with the value at a path replaced; `...` removes it."""
    report, *keys, last = path.split(".")
    place: Any = getattr(given, report)
    for key in keys:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return given


def test_a_better_candidate_passes(tmp_path: Path) -> None:
    report = decide(evidence(), tmp_path)
    assert (report.verdict, report.promote) == ("pass", True)
    rules = json.loads((tmp_path / "gate.json").read_text())["rules"]
    assert [rule["verdict"] for rule in rules] == ["pass"] * 5


PATHS = [
    "evaluation.metrics.accuracy.low",
    "evaluation.metrics.accuracy",
    "evaluation.metrics",
    "evaluation.champion",
    "evaluation.champion.difference",
    "evaluation.champion.difference.low",
    "evaluation.champion.bundle",
    "evaluation.bundle",
    "evaluation.test_digest",
    "audit.bundle",
    "audit.test_digest",
    "audit.probes",
    "audit.probes.refusal_order.rate.value",
    "export.digest",
    "export.parity",
    "export.parity.share_of_tolerance",
]
BAD = st.sampled_from([..., None, math.nan, math.inf, -math.inf, "0.9", "", True, False, [], {}, -1.0, "other"])


@settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(PATHS), value=BAD)
def test_anything_missing_or_odd_means_no(path: str, value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    if path.endswith("share_of_tolerance") and value == -1.0:
        return  # below the maximum, as the rule asks
    given = broken(evidence(), path, value)
    assert decide(given, tmp_path_factory.mktemp("gate")).verdict == "fail"


def test_a_worse_candidate_fails(tmp_path: Path) -> None:
    given = broken(evidence(), "evaluation.champion.difference.low", -0.021)
    assert "below -0.02" in decide(given, tmp_path).reason


def test_bounds_are_inclusive(tmp_path: Path) -> None:
    given = broken(evidence(), "evaluation.metrics.accuracy.low", 0.5)
    assert decide(given, tmp_path).promote


def test_a_first_candidate_needs_no_champion(tmp_path: Path) -> None:
    given = broken(evidence(champion=None), "evaluation.champion", None)
    assert decide(given, tmp_path).promote


def test_a_champion_of_another_test_set_counts_as_none(tmp_path: Path) -> None:
    other = ChampionRecord(label="m/1", bundle="old", test_digest="another")
    given = broken(evidence(champion=other), "evaluation.champion", None)
    report = decide(given, tmp_path)
    assert report.promote
    assert "another test set" in (tmp_path / "gate.json").read_text()


def test_the_champions_own_bundle_is_unchanged(tmp_path: Path) -> None:
    same = ChampionRecord(label="m/1", bundle="new", test_digest="test")
    assert decide(evidence(champion=same), tmp_path).verdict == "unchanged"


def test_a_policy_without_limits_is_refused() -> None:
    with pytest.raises(ValueError, match="without limits"):
        GateConfig(limits=())


@pytest.mark.parametrize("bounds", [{}, {"minimum": math.nan}, {"maximum": math.inf}, {"minimum": 2.0, "maximum": 1.0}])
def test_a_limit_that_cannot_decide_is_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="the rule 'x'"):
        Limit(name="x", evidence="evaluation.bundle", **bounds)


def test_unknown_report_in_a_rule_fails(tmp_path: Path) -> None:
    policy = GateConfig(limits=(Limit(name="x", evidence="nothing.at.all", minimum=0.0),))
    assert decide(evidence(), tmp_path, policy).verdict == "fail"


def test_reports_are_read_from_files(tmp_path: Path) -> None:
    given = evidence()
    paths = {}
    for name in ("evaluation", "audit", "export"):
        paths[name] = tmp_path / f"{name}.json"
        paths[name].write_text(json.dumps(getattr(given, name)))
    found = read_evidence(paths, bundle="new", test_digest="test", champion=CHAMPION.to_json())
    assert found == given
