"""What must hold before anything becomes champion: a report that passes, holds together, is fresh, and is signed."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rewardlab.promotion import client_log
from steps.promote import promote
from steps.registry.client import champion_record, connect
from steps.registry.versions import approve_version, promote_version
from tests.gated import POLICY, add, crown, report, sealed

FRESH = {**POLICY, "freshness": {"evidence_days": 30.0, "data_days": None}}


def after(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


PAST, SOON = "2025-01-01T00:00:00+00:00", "2199-01-01T00:00:00+00:00"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return sealed(tmp_path / "bundle", "a model")


def champion() -> str:
    """Return the record of the champion of "m", as JSON."""
    record = champion_record(connect(), "m")
    return record.to_json() if record else ""


UNSIGNED = "^the report on m/1 does not say whether people must sign: gate it again$"
UNTOLD = "^the report on m/1 does not say how long it holds: gate it again$"
OLD = [
    (
        {"fresh_until": PAST},
        f"^stale: what the gate saw of m/1 was fresh until {re.escape(PAST)}: run the pipeline again$",
    ),
    ({"decided": SOON}, f"^the gate decided on m/1 in the future, {re.escape(SOON)}: set the clocks right$"),
    *(({"fresh_until": odd}, UNTOLD) for odd in (None, "", "soon", 7, "2199-01-01T00:00:00")),
    *(({"policy": odd}, UNTOLD) for odd in (None, {}, {"sign_off": None})),
    ({"policy": {"freshness": None}}, UNSIGNED),
    *(({"decided": odd}, UNTOLD) for odd in (None, "", "soon", 7, "2026-01-01T00:00:00")),
]


@pytest.mark.parametrize(("said", "complaint"), OLD)
def test_a_report_that_has_grown_old_promotes_nothing(
    said: dict[str, Any], complaint: str, registry: Path, tmp_path: Path, bundle: Path
) -> None:
    add(report(tmp_path, bundle, **({"policy": FRESH, "fresh_until": SOON} | said)), bundle)
    with pytest.raises(ValueError, match=complaint):
        promote_version("m", "1")
    assert champion() == ""


def test_a_report_promotes_while_it_is_fresh(registry: Path, tmp_path: Path, bundle: Path) -> None:
    gate = report(tmp_path, bundle, policy=FRESH, fresh_until=after(1), decided=after(4))
    assert promote("run", add(gate, bundle), gate, "").decision == "promoted"
    gate = report(tmp_path, bundle, policy=FRESH, fresh_until=PAST)
    assert promote("run", add(gate, bundle), gate, "").decision == "promoted"  # as it was by the first call
    assert len(client_log(connect(), "m").lines) == 1


def test_a_run_whose_report_grew_old_is_rejected(registry: Path, tmp_path: Path, bundle: Path) -> None:
    gate = report(tmp_path, bundle, policy=FRESH, fresh_until=PAST)
    told = promote("run", add(gate, bundle), gate, "")
    assert (told.decision, told.reason[:7], champion()) == ("rejected", "stale: ", "")


@pytest.mark.parametrize("verdicts", [[], ["fail"], ["pass", "fail"], ["pass", None]])
def test_a_verdict_that_its_rules_contradict_is_none(
    verdicts: list[Any], registry: Path, tmp_path: Path, bundle: Path
) -> None:
    add(report(tmp_path, bundle, rules=[{"name": "x", "verdict": each} for each in verdicts]), bundle)
    for ask in (lambda: promote_version("m", "1"), lambda: approve_version("m", "1", person="ada")):
        with pytest.raises(ValueError, match=r"^m/1 did not pass the gate"):
            ask()


def test_a_report_counts_against_the_champion_it_compared_with(registry: Path, tmp_path: Path, bundle: Path) -> None:
    crown(tmp_path, bundle)
    other = sealed(tmp_path / "other", "another")
    blind, seeing = report(tmp_path, other), report(tmp_path, other, champion="m/1")
    label = add(blind, other)
    with pytest.raises(ValueError, match=r"^the gate on m/2 compared with the champion '', not with 'm/1'$"):
        promote("run", label, blind, champion())
    with pytest.raises(ValueError, match=r"^the gate on m/2 compared with the champion 'm/1', not with ''$"):
        promote("run", add(seeing, other), seeing, "")
