"""What people are told when they list, sign, promote, roll back and repair."""

import getpass
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rewardlab.bundle import Bundle
from rewardlab.files import read_json
from rewardlab.promotion import Entry, client_log, report_digest
from rewardlab.promotion.signing import signatures
from steps.registry.client import Registered, connect
from steps.registry.versions import (
    approve_version,
    list_versions,
    promote_version,
    repair,
    roll_back,
    versions_table,
)
from tests.gated import POLICY, add, crown, report, sealed

ASKED = {**POLICY, "sign_off": {"aliases": ["champion"], "people": 2}}


@pytest.fixture
def first(registry: Path, tmp_path: Path) -> Path:
    """Return the bundle that is champion, and version 1, of "m"."""
    crown(tmp_path, sealed(tmp_path / "first", "a model"))
    return tmp_path / "first"


@pytest.fixture
def second(first: Path, tmp_path: Path) -> Path:
    """Return a bundle that passed against the champion, and is version 2 of "m"."""
    add(report(tmp_path, sealed(tmp_path / "second", "another"), champion="m/1"), tmp_path / "second")
    return tmp_path / "second"


def head(alias: str = "champion") -> Entry:
    found = client_log(connect(), "m").head(alias)
    assert found is not None
    return found


def refuses(complaint: str) -> "pytest.RaisesExc[ValueError]":
    return pytest.raises(ValueError, match=f"^{re.escape(complaint)}$")


def is_now(text: str) -> bool:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", text)
    return abs(datetime.now(UTC) - datetime.fromisoformat(text)) < timedelta(minutes=5)


def test_a_promotion_writes_who_did_what_by_which_report(second: Path, tmp_path: Path) -> None:
    before = head()
    assert promote_version("m", "2") == "m/2 is champion; before: 1"
    gate = read_json(tmp_path / "gate-pass-m-1.json")
    entry = head()
    (run,) = connect().search_runs(["1"], filter_string="tags.`rewardlab.run_id` = 'run'")
    assert entry.to_dict() == {
        "alias": "champion",
        "action": "promote",
        "version": "2",
        "bundle": Bundle.open(second).digest,
        "test_digest": "t",
        "report": report_digest(gate),
        "run": run.info.run_id,
        "follows": before.digest,
        "signed": [],
        "by": getpass.getuser(),
        "at": entry.at,
    }
    assert is_now(entry.at)
    assert connect().get_model_version("m", "2").tags["decision"] == "promoted"


def test_a_rollback_restores_the_promotion_by_its_report(second: Path) -> None:
    one = head()
    promote_version("m", "2")
    two = head()
    assert roll_back("m") == "m/1 is champion again; version 2 is now `previous`"
    back = head()
    changed = {"action": "rollback", "follows": two.digest, "by": getpass.getuser(), "at": back.at}
    assert back.to_dict() == one.to_dict() | changed
    assert is_now(back.at)


def test_the_first_champion_follows_none(first: Path) -> None:
    assert promote_version("m", "1") == "m/1 is champion already"
    assert head().follows == ""
    connect().set_registered_model_alias("m", "champion", "1")
    connect().delete_registered_model_alias("m", "champion")
    assert promote_version("m", "1") == "m/1 is champion already"  # and the alias is set right
    assert str(connect().get_model_version_by_alias("m", "champion").version) == "1"


def test_without_a_champion_the_first_is_told_so(registry: Path, tmp_path: Path) -> None:
    add(report(tmp_path, sealed(tmp_path / "first", "a model")), tmp_path / "first")
    assert promote_version("m", "1") == "m/1 is champion; before: none"


def test_what_cannot_be_promoted_says_what_to_do(second: Path, tmp_path: Path) -> None:
    with refuses("m has no version 9: see `rewardlab models --name m`"):
        promote_version("m", "9")
    add(report(tmp_path, sealed(tmp_path / "third", "x"), "fail"), tmp_path / "third", run_id="third")
    with refuses("m/3 did not pass the gate (fail: because)"):
        promote_version("m", "3")
    add(report(tmp_path, sealed(tmp_path / "fourth", "y")), tmp_path / "fourth", run_id="fourth")
    again = "run the pipeline again to gate it anew"
    with refuses(f"stale: m/4 was gated against no champion, and champion is m/1: {again}"):
        promote_version("m", "4")
    add(report(tmp_path, sealed(tmp_path / "fifth", "z"), champion="n/1"), tmp_path / "fifth", name="n")
    with refuses(f"stale: n/1 was gated against n/1, and champion is none: {again}"):
        promote_version("n", "1")


def test_a_version_without_a_report_is_refused(second: Path) -> None:
    client = connect()
    told = "run the pipeline again"
    client.set_model_version_tag("m", "2", "run_id", "unknown")
    with refuses(f"the registry keeps no report of the gate on m/2: {told}"):
        promote_version("m", "2")
    client.delete_model_version_tag("m", "2", "run_id")
    with refuses(f"the registry keeps no report of the gate on m/2: {told}"):
        approve_version("m", "2", person="ada")
    runs = [run.data.tags["rewardlab.run_id"] for run in client.search_runs(["1"])]
    assert "unknown" not in runs  # to ask makes no run


def test_a_report_on_another_bundle_promotes_nothing(second: Path) -> None:
    connect().set_model_version_tag("m", "2", "bundle", "other")
    with refuses("m/2 did not pass the gate (pass: because)"):
        promote_version("m", "2")


def test_a_signature_says_who_when_and_to_what(second: Path, tmp_path: Path) -> None:
    assert approve_version("m", "2", person="Ada") == "ada has signed m/2"
    assert approve_version("m", "2", person="") == f"{getpass.getuser()} has signed m/2"
    tags = connect().get_model_version("m", "2").tags
    digest = report_digest(read_json(tmp_path / "gate-pass-m-1.json"))
    at, signed = tags["approved.ada"].split()
    assert is_now(at)
    assert signed == digest
    assert f"approved.{getpass.getuser()}" in tags
    for person in ("a b", "a\tb", " "):
        with refuses(f"who signs is one word, such as a user name or an address, got {person!r}"):
            approve_version("m", "2", person=person)


def test_only_what_passed_is_signed(first: Path, tmp_path: Path) -> None:
    add(report(tmp_path, sealed(tmp_path / "third", "x"), "fail"), tmp_path / "third")
    with refuses("m/2 did not pass the gate: there is nothing to sign"):
        approve_version("m", "2", person="ada")


def test_signatures_count_under_the_report_they_name() -> None:
    tags = {"approved.b": "2026-01-02 d", "approved.a": "2026-01-01 d", "approved.c": "2026-01-01 other"}
    odd = {"approved.e": "", "approved.f": "d", "approved.g": "2026-01-01 d d"}
    odd |= {"bundle": "2026-01-01 d", "approved.": "2026-01-01 d"}
    assert signatures(tags | odd, "d") == ("a 2026-01-01", "b 2026-01-02")


def test_a_promotion_waits_for_enough_signatures(first: Path, tmp_path: Path) -> None:
    add(report(tmp_path, sealed(tmp_path / "third", "x"), champion="m/1", policy=ASKED), tmp_path / "third")
    ways = "`rewardlab approve 2 --name m`, then `rewardlab promote 2 --name m`"
    after = f"people have signed; who has read the report runs {ways}"
    with refuses(f"not signed off: 0 of 2 {after}"):
        promote_version("m", "2")
    approve_version("m", "2", person="ada")
    with refuses(f"not signed off: 1 of 2 {after}"):
        promote_version("m", "2")
    approve_version("m", "2", person="alan")
    promote_version("m", "2")
    assert [each.split()[0] for each in head().signed] == ["ada", "alan"]
    assert all(is_now(each.split()[1]) for each in head().signed)


def test_versions_are_listed_newest_first(second: Path, tmp_path: Path) -> None:
    client = connect()
    for alias, version in (("mine", "2"), ("champion", "2"), ("also", "1")):
        client.set_registered_model_alias("m", alias, version)
    for number in range(3, 11):
        client.create_model_version("m", f"s3://bucket/{number}")
    rows = list_versions("m")
    assert [row.version for row in rows] == [str(number) for number in range(10, 0, -1)]
    assert [row.aliases for row in rows[-2:]] == [("mine",), ("also", "champion")]
    assert rows[-1].tags["bundle"] == Bundle.open(tmp_path / "first").digest
    assert abs(rows[-1].created / 1000 - datetime.now(UTC).timestamp()) < 300


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the clock on the wall be nine hours ahead of UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_the_table_of_versions() -> None:
    tags = {"verdict": "pass", "recipe": "smoke", "bundle": "0123456789abcdef"}
    rows = [
        Registered(version="2", aliases=(), tags={}, created=1795600242316),
        Registered(version="1", aliases=("champion", "mine"), tags=tags, created=0),
    ]
    assert versions_table(rows).splitlines() == [
        "version  aliases              verdict    recipe     created (UTC)     bundle",
        "2                             ?          ?          2026-11-25 09:50  ?",
        "1        champion, mine       pass       smoke      1970-01-01 00:00  0123456789ab",
    ]


def test_repair_sets_the_aliases_by_the_log(second: Path) -> None:
    promote_version("m", "2")
    assert repair("m") == "nothing to repair"
    for alias, version in (("champion", "1"), ("previous", "2")):
        connect().set_registered_model_alias("m", alias, version)
    assert repair("m") == "champion is version 2; previous is version 1"
    assert repair("m") == "nothing to repair"


def test_what_cannot_be_rolled_back_says_why(first: Path) -> None:
    with refuses("m has no previous champion to go back to: see `rewardlab models --name m`"):
        roll_back("m")
    with refuses("n has no previous champion to go back to: see `rewardlab models --name n`"):
        roll_back("n")


def test_what_the_registry_refuses_is_one_line_that_names_it(registry: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"^the registry sqlite:///{re.escape(str(registry))}/mlflow\.db refuses: .+$"
    ):
        list_versions("a'b")


def test_who_has_no_name_is_a_number(second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise OSError("no such user")

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 1234)
    promote_version("m", "2")
    assert head().by == "uid-1234"
