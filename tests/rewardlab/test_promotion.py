"""The promotion log: what counts, and what comes of promoters that race, pause and die at any step."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardlab.promotion import (
    Entry,
    Log,
    LogError,
    StaleError,
    alias_version,
    alias_versions,
    log_name,
    move,
    project,
    read,
    replay,
    report_digest,
)
from rewardlab.promotion import moving as moving_module
from rewardlab.promotion.signing import NotSignedError, signed_off
from tests.promotion_store import DIGESTS, DiedError, MemoryStore, Stepped, dying, entry, taking_turns

Work = Callable[[Callable[[], None]], None]
FIRST = entry(1)
SECOND = entry(2, FIRST)


def log(*entries: Entry | str) -> Log:
    return replay((at, each if isinstance(each, str) else each.to_json()) for at, each in enumerate(entries, start=1))


def test_an_entry_is_one_text_named_by_its_sha256() -> None:
    text = FIRST.to_json()
    assert FIRST.digest == hashlib.sha256(text.encode()).hexdigest()
    assert Entry.parse(text) == FIRST
    with pytest.raises(ValueError, match=r"^it is not written in the one way that entries are$"):
        Entry.parse(json.dumps(json.loads(text), indent=1))
    for other in (text[:-1] + ',"alias":"champion"}', "{}", "[]", "", "null"):
        with pytest.raises(ValueError, match=r".+"):
            Entry.parse(other)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        *(({name: ""}, f"^an entry of the promotion log needs {name}$") for name in ("alias", "bundle", "run")),
        ({"test_digest": "", "at": ""}, "^an entry of the promotion log needs test_digest, at$"),
        *(
            ({"version": bad}, f"^an entry names a version by its number, got {bad!r}$")
            for bad in ("", "0", "01", "1x")
        ),
        *(
            ({"report": bad}, f"^an entry names its report by its sha256, got {bad!r}$")
            for bad in ("", "a" * 63, "G" * 64)
        ),
        *(({"follows": bad}, f"^an entry follows another by its sha256, got {bad!r}$") for bad in ("x", "a" * 65)),
    ],
)
def test_an_entry_that_says_too_little_is_refused(change: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(FIRST, **change)


def test_a_report_is_named_by_what_it_says() -> None:
    assert report_digest({"a": 1, "b": [2.5]}) == hashlib.sha256(b'{"a":1,"b":[2.5]}').hexdigest()
    assert report_digest({"b": [2.5], "a": 1}) == report_digest({"a": 1, "b": [2.5]})


def test_the_newest_entry_that_counts_says_who_is_champion() -> None:
    found = log(FIRST, SECOND, replace(FIRST, alias="production"))
    assert found.head("champion") == SECOND
    assert found.before("champion") == FIRST
    assert found.projection() == {"champion": "2", "previous": "1", "production": "1"}
    assert [found.number(each) for each in (FIRST, SECOND)] == [1, 2]
    assert [line.void for line in found.lines] == ["", "", ""]


def test_an_empty_log_says_nothing() -> None:
    assert log().projection() == {}
    assert (log().head("champion"), log().before("champion")) == (None, None)
    assert log(FIRST).before("champion") is None
    assert log(FIRST).projection() == {"champion": "1"}


def test_the_order_of_numbers_counts_not_that_of_reading() -> None:
    assert replay([(2, SECOND.to_json()), (1, FIRST.to_json())]) == log(FIRST, SECOND)


def test_of_two_that_follow_the_same_entry_the_first_counts() -> None:
    found = log(FIRST, SECOND, entry(3, FIRST), entry(4))
    assert [line.void for line in found.lines] == ["", "", *["stale: another entry came first"] * 2]
    assert found.head("champion") == SECOND
    assert not found.holds(entry(3, FIRST))
    assert found.holds(FIRST)
    assert [line.number for line in found.lines] == [1, 2, 3, 4]


def test_the_same_entry_twice_counts_once() -> None:
    found = log(FIRST, FIRST)
    assert [line.void for line in found.lines] == ["", "stale: another entry came first"]
    assert found.accepted("champion") == [FIRST]
    assert found.number(FIRST) == 1


def test_aliases_have_chains_of_their_own() -> None:
    found = log(FIRST, replace(SECOND, alias="production", follows=""), SECOND)
    assert found.projection() == {"champion": "2", "previous": "1", "production": "2"}


def test_what_is_no_entry_is_void() -> None:
    found = log(FIRST, "", "{", '{"alias":"champion"}', SECOND)
    assert found.head("champion") == SECOND
    assert [line.number for line in found.lines] == [1, 2, 3, 4, 5]
    assert [(line.entry is None, line.void.startswith("no entry: ")) for line in found.lines[1:4]] == [(True, True)] * 3


def test_a_rollback_counts_if_that_report_has_promoted_that_version() -> None:
    back = entry(1, SECOND, action="rollback")
    assert log(FIRST, SECOND, back).projection() == {"champion": "1", "previous": "2"}
    for change in ({"version": "3"}, {"bundle": "x"}, {"test_digest": "x"}, {"report": DIGESTS[9]}, {"run": "x"}):
        found = log(FIRST, SECOND, replace(back, **change))
        assert found.lines[2].void == f"version {change.get('version', '1')} was never promoted by this report"
        assert found.projection() == {"champion": "2", "previous": "1"}
    assert log(replace(FIRST, action="rollback")).projection() == {}


@pytest.mark.parametrize(
    ("numbered", "complaint"),
    [
        ([(1, FIRST), (3, SECOND)], "entry 2 is missing"),
        ([(2, SECOND)], "entry 1 is missing"),
        ([(1, FIRST), (1, FIRST)], "entry 2 is missing"),
        ([(1, SECOND)], "entry 1 follows one that is not there"),
        ([(1, replace(FIRST, bundle="changed")), (2, SECOND)], "entry 2 follows one that is not there"),
        ([(1, FIRST), (2, entry(2)), (3, entry(3, entry(2)))], "entry 3 follows one that is not there"),
    ],
)
def test_a_log_that_was_changed_is_refused(numbered: list[tuple[int, Entry]], complaint: str) -> None:
    with pytest.raises(LogError, match=f"^the promotion log was changed: {complaint}$"):
        replay((number, each.to_json()) for number, each in numbered)


def test_a_log_has_a_name_that_no_model_has() -> None:
    assert log_name("m") == "m.log"
    with pytest.raises(
        ValueError, match=r"^'m\.log' is the name of a promotion log: a registered model is called otherwise$"
    ):
        log_name("m.log")


def test_an_alias_stands_for_what_the_log_says() -> None:
    store = MemoryStore()
    assert (alias_version(store, "m", "champion"), alias_versions(store, "m")) == (None, {})
    store.append("m", FIRST)
    assert (alias_version(store, "m", "champion"), alias_versions(store, "m")) == ("1", {"champion": "1"})
    store.named = {"champion": "7", "mine": "7"}
    assert [alias_version(store, "m", alias) for alias in ("champion", "mine", "nobody")] == ["1", "7", None]
    assert alias_versions(store, "m") == {"champion": "1", "mine": "7"}
    store.texts.clear()
    assert alias_versions(store, "m") == {"champion": "7", "mine": "7"}
    advice = "`rewardlab promote 7 --name m` does if it passed the gate, or remove the alias"
    with pytest.raises(
        ValueError, match=f"^version 7 has the alias champion of m, but no promotion made it so: {advice}$"
    ):
        alias_version(store, "m", "champion")


def test_a_promotion_while_an_alias_is_looked_up_is_no_error() -> None:
    class Promoted(MemoryStore):
        """Somebody promotes after the first call, whichever that is."""

        def aliases(self, name: str) -> dict[str, str]:
            before = super().aliases(name)
            self.promote()
            return before

        def records(self, name: str) -> list[tuple[int, str]]:
            before = super().records(name)
            self.promote()
            return before

        def promote(self) -> None:
            self.texts, self.named = [FIRST.to_json()], {"champion": "1"}

    assert alias_version(Promoted(), "m", "champion") == "1"


def test_a_move_writes_an_entry_and_sets_the_aliases() -> None:
    store = MemoryStore()
    assert move(store, "m", FIRST).head("champion") == FIRST
    assert move(store, "m", SECOND).head("champion") == SECOND
    assert move(store, "m", SECOND).accepted("champion") == [FIRST, SECOND]
    assert (len(store.texts), store.named) == (2, {"champion": "2", "previous": "1"})


def test_a_stale_move_writes_nothing() -> None:
    store = MemoryStore()
    move(store, "m", FIRST)
    with pytest.raises(StaleError, match=r"^stale: champion of m is version 1 since, by another promotion$"):
        move(store, "m", entry(2))
    with pytest.raises(StaleError, match=r"^stale: production of m is none since, by another promotion$"):
        move(store, "m", replace(SECOND, alias="production"))
    assert len(store.texts) == 1


def test_only_what_is_wrong_is_set() -> None:
    store = MemoryStore()
    move(store, "m", FIRST)
    store.named |= {"mine": "7"}
    assert project(store, "m") == {}
    store.named["champion"] = "9"
    assert project(store, "m") == {"champion": "1"}
    assert store.named == {"champion": "1", "mine": "7"}


class Busy(MemoryStore):
    """Somebody appends another alias's entry whenever an alias is set."""

    def point(self, name: str, alias: str, version: str) -> None:
        super().point(name, alias, version)
        if len(self.texts) == 1:
            self.append(name, replace(FIRST, alias="production"))


def test_what_was_set_is_told_over_all_readings_of_the_log() -> None:
    store = Busy()
    store.append("m", FIRST)
    assert project(store, "m") == {"champion": "1", "production": "1"}


class Stumbling(MemoryStore):
    """Answers the first tries with an error, though some were written."""

    def __init__(self, written: list[bool]) -> None:
        super().__init__()
        self.written = written

    def append(self, name: str, entry: Entry) -> bool:
        if not self.written:
            return super().append(name, entry)
        if self.written.pop(0):
            super().append(name, entry)
        return False


@pytest.mark.parametrize("written", [[], [True], [False], [False, True], [False, False]])
def test_an_answer_that_was_lost_is_found_in_the_log(written: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(moving_module.time, "sleep", waits.append)
    wanted = [0.02, 0.04][: len(written)]
    store = Stumbling(written)
    assert move(store, "m", FIRST).accepted("champion") == [FIRST]
    assert (store.named, len(store.texts), waits) == ({"champion": "1"}, 1, wanted)


def test_a_registry_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(moving_module.time, "sleep", waits.append)
    monkeypatch.setattr(MemoryStore, "append", lambda *_: False)
    with pytest.raises(ValueError, match=r"^the registry took no entry into the promotion log of m in 12 tries$"):
        move(MemoryStore(), "m", FIRST)
    assert waits == [min(1.0, 0.02 * 2**attempt) for attempt in range(12)]


def promoter(store: MemoryStore, mine: Entry | None, outcomes: dict[str, str], version: int = 0) -> Work:
    """Return the work of a promoter of an entry, or of one that gates against whom it finds."""

    def work(step: Callable[[], None]) -> None:
        held = Stepped(store, step)
        attempt = mine or entry(version, read(held, "m").head("champion"))
        try:
            move(held, "m", attempt)
            outcomes[attempt.version] = "promoted"
        except StaleError:
            outcomes[attempt.version] = "stale"

    return work


@settings(max_examples=150, deadline=None)
@given(schedule=st.lists(st.integers(0, 3), max_size=80))
def test_promoters_in_any_order_lose_nothing(schedule: list[int]) -> None:
    store = MemoryStore()
    outcomes: dict[str, str] = {}
    with taking_turns([promoter(store, None, outcomes, version) for version in range(1, 5)]) as advance:
        for at in schedule:
            advance(at)
    found = read(store, "m")
    accepted = {each.version for each in found.accepted("champion")}
    assert accepted == {version for version, outcome in outcomes.items() if outcome == "promoted"}
    assert len(outcomes) == 4
    assert accepted
    assert store.named == found.projection()


def steps_of_a_promotion() -> int:
    store = MemoryStore()
    move(store, "m", FIRST)
    with taking_turns([promoter(store, SECOND, {})]) as advance:
        return sum(iter(lambda: advance(0), False)) + 1


def test_a_promoter_that_pauses_undoes_nothing() -> None:
    num = steps_of_a_promotion()
    assert num > 15
    for pause in range(num):
        store = MemoryStore()
        outcomes: dict[str, str] = {}
        move(store, "m", FIRST)
        with taking_turns([promoter(store, SECOND, outcomes)]) as advance:
            for _ in range(pause):
                advance(0)
            move(store, "m", entry(3, read(store, "m").head("champion")))  # the later one, while the first is held
            move(store, "m", entry(4, read(store, "m").head("champion")))
        found = read(store, "m")
        assert found.projection()["champion"] == "4"
        assert store.named == found.projection()
        assert (outcomes["2"] == "promoted") == found.holds(SECOND)


def test_after_a_death_at_any_step_the_next_call_recovers() -> None:
    for after in range(steps_of_a_promotion() - 1):  # less the one before it begins
        store = MemoryStore()
        move(store, "m", FIRST)
        with pytest.raises(DiedError):
            move(Stepped(store, dying(after)), "m", SECOND)
        assert read(store, "m").projection()["champion"] in ("1", "2")
        move(store, "m", SECOND)
        assert read(store, "m").accepted("champion") == [FIRST, SECOND]
        assert store.named == {"champion": "2", "previous": "1"}


def test_so_many_people_sign_the_report_itself_as_its_policy_asks_for() -> None:
    report = {"policy": {"sign_off": {"aliases": ["production"], "people": 2}}}
    tags = {"approved.ada": f"now {report_digest(report)}", "approved.bob": "now another", "recipe": "smoke"}
    with pytest.raises(NotSignedError, match=r"1 of 2 people have signed; .*approve 3 --name m"):
        signed_off(report, tags, "m/3")
    enough = tags | {"approved.bob": f"later {report_digest(report)}"}
    assert signed_off(report, enough, "m/3") == ("ada now", "bob later")
    assert signed_off({"policy": {"sign_off": None}}, tags, "m/3") == ()
    with pytest.raises(ValueError, match="does not say whether people must sign"):
        signed_off({"policy": None}, enough, "m/3")
