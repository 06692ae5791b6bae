"""The deployer against a cluster in memory that fails in every way: it converges, and serves what the log holds."""

import copy
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from rewardlab.files import read_json
from rewardlab.promotion import moving
from serving.deployer.service import Object, check_template
from tests.cluster.serving import GOOD, HEALTHS, IDLE, NAME, WATCH, World
from tests.promotion_store import DiedError

TEMPLATE = read_json(Path(__file__).parents[2] / "deploy" / "base" / "server" / "inference-service.json")
FAULTS = ("lost", "late", "dies", "dies late", "error", "other", "touched")
VERSIONS = ("1", "2", "3", "4", "5")
PEOPLE = ("ada", "bob")


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving.time, "sleep", lambda _: None)


def world(**health: str) -> World:
    """Return a cluster with versions that are well unless said otherwise, such as `v2="slow"`."""
    return World(TEMPLATE, {each: health.get(f"v{each}", GOOD) for each in VERSIONS})


def test_the_first_champion_is_served_and_is_production_in_the_log() -> None:
    cluster = world()
    cluster.crown("1")
    assert cluster.deployer().step() == "version 1 is served"
    assert (cluster.stable, cluster.canaries, cluster.aliases["production"]) == ("1", [], "1")
    (entry,) = cluster.log.accepted("production")
    assert (entry.version, entry.bundle, entry.by) == ("1", "bundle-1", "deployer")


def test_a_champion_waits_for_those_who_sign_before_anybody_is_served_by_it() -> None:
    cluster = world()
    cluster.asks["1"] = 2
    cluster.crown("1")
    cluster.sign("1", "ada")
    wanted = "version 1 waits: not signed off: 1 of 2 people have signed; who has read the report runs"
    assert cluster.deployer().step() == f"{wanted} `rewardlab approve 1 --name {NAME}`"
    assert (cluster.service, cluster.log.accepted("production")) == (None, [])
    cluster.sign("1", "bob")
    assert cluster.deployer().step() == "version 1 is served"
    assert cluster.log.accepted("production")[0].signed == ("ada now", "bob now")


def test_a_second_champion_is_no_canary_before_it_is_signed_and_a_withdrawn_signature_ends_one() -> None:
    cluster = world()
    cluster.crown("1")
    cluster.settle(100)
    cluster.asks["2"] = 1
    cluster.crown("2")
    assert cluster.deployer().step().startswith("version 2 waits: not signed off: 0 of 1")
    cluster.sign("2", "ada")
    cluster.deployer().step()
    assert (cluster.stable, cluster.canaries) == ("1", ["2"])
    cluster.signed.clear()
    cluster.settle()
    assert (cluster.stable, cluster.canaries, cluster.aliases["production"]) == ("1", [], "1")


def test_a_report_that_is_not_the_one_in_the_log_lets_nobody_in() -> None:
    cluster = world()
    cluster.asks["1"] = 1
    cluster.crown("1")
    cluster.asks["1"] = 2
    with pytest.raises(ValueError, match="does not keep the report that made reward-model/1 champion"):
        cluster.deployer().step()


def test_without_a_champion_nothing_is_served() -> None:
    cluster = world()
    assert cluster.deployer().step() == f"nothing is champion of {NAME}"
    assert cluster.service is None


def test_a_champion_goes_through_a_canary_into_production() -> None:
    cluster = world()
    cluster.crown("1")
    cluster.settle(100)
    cluster.crown("2")
    deployer = cluster.deployer()
    assert deployer.step() == "version 2 is tried on 10 % of the requests"
    assert (cluster.stable, cluster.canaries) == ("1", ["2"])
    cluster.now += 30
    assert deployer.step() == "version 2 is watched: 30 of 60 s have gone by"
    cluster.now += 60
    assert deployer.step() == "version 2 is served to all"
    assert (cluster.stable, cluster.canaries, cluster.aliases["production"]) == ("2", [], "2")
    assert [event["reason"] for event in cluster.events] == ["Created", "Canary", "Production"]


@pytest.mark.parametrize(
    ("health", "why"),
    [
        ("fails", "requests failed, over 1.0%"),
        ("slow", "1 request in 100 takes over"),
        ("drifts", "rewards have drifted from the bundle's reference: PSI 0.4"),
        ("not finite", "1 responses were not scored, or their rewards are not finite"),
        ("restarts", "pod pod-2 ended and was started again"),
        ("unready", "pod pod-2 is not ready after"),
        ("other bundle", "a pod serves reward-model/2 with bundle another, not bundle-2"),
        ("idle", "no request has reached it in"),
    ],
)
def test_a_canary_that_is_unwell_is_rolled_back_and_said_why(health: str, why: str) -> None:
    cluster = world(v2=health)
    cluster.crown("1")
    cluster.settle(100)
    entry = cluster.crown("2")
    cluster.settle(1000)
    assert (cluster.stable, cluster.canaries, cluster.log.head("production").version) == ("1", [], "1")
    assert cluster.note("refused")["entry"] == entry.digest
    assert why in cluster.note("refused")["why"]
    warning = cluster.events[-1]
    assert (warning["type"], warning["reason"]) == ("Warning", "RolledBack")
    assert why in warning["message"]


def test_a_refused_version_is_tried_again_when_it_is_promoted_again() -> None:
    cluster = world(v2=IDLE)
    cluster.crown("1")
    cluster.settle(100)
    cluster.crown("2")
    cluster.settle(1000)
    cluster.health["2"] = GOOD
    cluster.settle(1000)
    assert cluster.stable == "1"
    cluster.crown("2")
    cluster.settle(1000)
    assert cluster.stable == "2"


def test_a_rollback_to_what_was_in_production_takes_one_step() -> None:
    cluster = world()
    for version in ("1", "2"):
        cluster.crown(version)
        cluster.settle(500)
    cluster.crown("1", action="rollback")
    assert cluster.deployer().step() == "version 1 is served to all"
    assert (cluster.stable, cluster.log.head("production").action) == ("1", "rollback")


def test_a_newer_champion_takes_the_canarys_place() -> None:
    cluster = world()
    cluster.crown("1")
    cluster.settle(100)
    cluster.crown("2")
    deployer = cluster.deployer()
    deployer.step()
    cluster.now += 50
    cluster.crown("3")
    deployer.step()
    assert cluster.canaries == ["3"]
    assert cluster.note("canary")["since"] == cluster.now


def test_what_somebody_changes_by_hand_is_set_right() -> None:
    cluster = world()
    cluster.crown("1")
    cluster.settle(100)
    assert cluster.service
    by_hand = copy.deepcopy(cluster.service)
    by_hand["spec"]["predictor"]["model"]["storageUri"] = "s3://elsewhere/bundle"
    by_hand["spec"]["canary"] = [{"trafficPercent": 50, "predictor": {"name": "x"}}] * 2
    cluster.service = by_hand
    cluster.deployer().step()
    assert (cluster.stable, cluster.canaries) == ("1", [])


def test_a_version_that_holds_another_bundle_than_the_log_names_is_not_served() -> None:
    cluster = world()
    entry = cluster.crown("1")
    cluster.texts = [entry.to_json().replace("bundle-1", "bundle-9")]
    with pytest.raises(ValueError, match="holds the bundle 'bundle-1', and the promotion log names 'bundle-9'"):
        cluster.deployer().step()
    assert cluster.service is None


def test_a_log_that_was_changed_from_outside_changes_nothing() -> None:
    cluster = world()
    cluster.crown("1")
    cluster.settle(100)
    before = copy.deepcopy(cluster.service)
    cluster.crown("2")
    del cluster.texts[0]
    with pytest.raises(ValueError, match="the promotion log was changed"):
        cluster.deployer().step()
    assert cluster.service == before


def test_templates_that_kserve_splits_no_traffic_for_are_refused() -> None:
    for change, message in (
        (lambda made: made.update(kind="Deployment"), "the template is an InferenceService"),
        (lambda made: made["metadata"].pop("annotations"), "deploymentMode is Standard"),
        (lambda made: made["spec"]["predictor"].pop("model"), "the template's predictor has a model"),
        (lambda made: made["spec"].update(canary=[]), "the deployer sets canary"),
    ):
        made: Object = copy.deepcopy(TEMPLATE)
        change(made)
        with pytest.raises(ValueError, match=message):
            check_template(made)


def dying_at(call: int, late: bool) -> Callable[[str], str]:
    """Return a fault that kills its caller once, at a call."""
    calls: Iterator[int] = iter(range(1_000_000))
    return lambda _: ("dies late" if late else "dies") if next(calls) == call else ""


ALL_CALLS, FEW_CALLS = range(60), range(0, 60, 5)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("calls", [FEW_CALLS, pytest.param(ALL_CALLS, marks=pytest.mark.slow)], ids=["few", "all"])
def test_it_may_die_at_any_call_from_the_first_champion_to_the_second(calls: range, late: bool) -> None:
    for call in calls:
        cluster = world()
        cluster.crown("1")
        cluster.fault = dying_at(call, late)
        died = False
        for seconds in range(0, 200, 20):
            if seconds == 40:
                cluster.crown("2")
            cluster.now += 20
            try:
                cluster.deployer().step()
            except DiedError:
                died = True
        assert died
        cluster.settle(500)
        assert (cluster.stable, cluster.canaries, cluster.aliases["production"]) == ("2", [], "2")


def campaign(seed: int) -> None:
    """Let people promote and roll back, and everything fail, at random; then see whether it ends right."""
    rng = random.Random(seed)
    cluster = world(**{f"v{each}": rng.choice((GOOD, *HEALTHS)) for each in VERSIONS})
    share = rng.choice((0.02, 0.1, 0.3))
    cluster.asks = {each: rng.choice((0, 0, 1, 2)) for each in VERSIONS}
    others = cluster.deployer(), cluster.deployer()

    def fault(_: str) -> str:
        return rng.choice(FAULTS) if rng.random() < share else ""

    def other() -> None:
        cluster.fault = lambda _: ""
        with suppress(ValueError, httpx.HTTPError):
            others[1].step()
        cluster.fault = fault

    cluster.other, deployer = other, others[0]
    cluster.fault = fault
    for _ in range(120):
        if rng.random() < 0.08:
            promote(cluster, rng)
        cluster.now += rng.choice((0.0, 5.0, 20.0, 60.0))  # webhooks come twice, or are lost
        if rng.random() < 0.1:
            deployer = cluster.deployer()
        try:
            deployer.step()
        except (ValueError, httpx.HTTPError):
            pass
        except DiedError:
            deployer = cluster.deployer()
        cluster.check()
    cluster.fault = lambda _: ""
    if not cluster.log.head("champion"):
        cluster.crown("1")
    for version, person in itertools.product(VERSIONS, PEOPLE):
        cluster.sign(version, person)
    cluster.settle()
    converged(cluster)


def promote(cluster: World, rng: random.Random) -> None:
    """Sign a version; make one champion, or roll back to one that was."""
    cluster.sign(rng.choice(VERSIONS), rng.choice(PEOPLE))
    former = [each.version for each in cluster.log.accepted("champion")]
    if former and rng.random() < 0.3:
        cluster.crown(rng.choice(former), action="rollback")
    else:
        cluster.crown(rng.choice(VERSIONS))


def converged(cluster: World) -> None:
    """Hold a cluster at rest against the log: production is served alone, and the champion is it or is refused."""
    champion, production = cluster.log.head("champion"), cluster.log.head("production")
    assert champion
    assert production
    assert (cluster.stable, cluster.canaries, cluster.note("canary")) == (production.version, [], {})
    assert cluster.aliases["production"] == production.version
    if champion.bundle != production.bundle:
        assert cluster.health[champion.version] != GOOD
        assert cluster.note("refused")["entry"] == champion.digest
        assert cluster.note("refused")["why"]
    assert WATCH.max_seconds < 2000


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 40))])
def test_it_converges_whatever_fails(seed: int) -> None:
    campaign(seed)


@pytest.mark.campaign
def test_it_converges_in_three_thousand_campaigns() -> None:
    for seed in range(1000, 4000):
        campaign(seed)
