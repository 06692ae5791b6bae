"""Promoters that race through a real MLflow server over HTTP on PostgreSQL, and the log on its REST API."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import pytest

from rewardlab.files import write_json
from rewardlab.layout import GATE_REPORT
from rewardlab.mlflow_rest import RestRegistry
from rewardlab.promotion import StaleError, client_log, move, project, read, report_digest
from steps.promote import PromoteReport, promote
from steps.registry.client import RegistryStore, champion_record, connect, make_model, pipeline_run, stored_json
from steps.registry.promotable import moment
from steps.registry.versions import roll_back
from tests.gated import POLICY
from tests.mlflow_server import mlflow_server
from tests.postgres_cluster import postgres, postgres_binaries
from tests.promotion_store import entry

NO_POSTGRES = "PostgreSQL is not installed: apt-get install postgresql"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of an MLflow server on PostgreSQL, made the registry."""
    if postgres_binaries() is None:
        pytest.fail(NO_POSTGRES) if os.environ.get("CI") else pytest.skip(NO_POSTGRES)
    folder = tmp_path_factory.mktemp("server")
    with (
        postgres() as store,
        mlflow_server(folder, store=store, workers=2) as url,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("MLFLOW_TRACKING_URI", url)
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
        patch.setenv("REWARDLAB_HOME", str(folder))
        yield url


class Race:
    """Promoters that each gate a version of their own against the same champion, round after round."""

    def __init__(self, folder: Path, name: str, num: int) -> None:
        self.folder, self.name, self.num = folder, name, num
        self.client = connect()
        make_model(self.client, name)
        self.labels = [self._version(f"bundle-{at}") for at in range(2 * num)]  # so that no champion runs again
        self.barrier = Barrier(num)

    def _version(self, bundle: str) -> str:
        made = self.client.create_model_version(self.name, f"s3://bucket/{bundle}", tags={"bundle": bundle})
        return f"{self.name}/{made.version}"

    def gated(self, at: int, number: int, champion: str) -> tuple[str, str, Path]:
        """Keep the passing report of a promoter's run in a round; return run, version and report."""
        which = at + self.num * (number % 2)
        run_id, report = f"{self.name}-{number}-{at}", self.folder / f"gate-{number}-{at}.json"
        said: dict[str, Any] = {"verdict": "pass", "reason": f"round {number}", "bundle": f"bundle-{which}"}
        said |= {"test_digest": "t", "policy": POLICY, "decided": moment(), "fresh_until": None, "champion": champion}
        said |= {"rules": [{"name": "accurate", "verdict": "pass"}]}
        write_json(report, said)
        self.client.log_dict(pipeline_run(self.client, run_id), said, GATE_REPORT)
        return run_id, self.labels[which], report

    def round(self, number: int) -> list[tuple[str, PromoteReport]]:
        """Let all promote at once; return for each its version and what it was told."""
        with ThreadPoolExecutor(self.num) as pool:
            found = champion_record(self.client, self.name)
            against, label = (found.to_json(), found.label) if found else ("", "")
            ready = list(pool.map(lambda at: self.gated(at, number, label), range(self.num)))

            def race(which: tuple[str, str, Path]) -> tuple[str, PromoteReport]:
                run_id, label, report = which
                self.barrier.wait()
                return label, promote(run_id, label, report, against)

            return list(pool.map(race, ready))


def hold(folder: Path, name: str, num: int, rounds: int) -> None:
    """Race, and check after each round that one change was made, and the log tells it."""
    race = Race(folder, name, num)
    winners: list[str] = []
    for number in range(rounds):
        told = race.round(number)
        decisions = Counter(report.decision for _, report in told)
        assert decisions == {"promoted": 1, "rejected": num - 1}
        assert all(report.reason.startswith("stale: ") for _, report in told if report.decision == "rejected")
        winners += [label for label, report in told if report.decision == "promoted"]
        log = client_log(race.client, name)
        assert [f"{name}/{each.version}" for each in log.accepted("champion")] == winners
        assert RegistryStore(race.client).aliases(name) == log.projection()
    for each in client_log(race.client, name).accepted("champion"):
        kept = stored_json(race.client, each.run, GATE_REPORT)
        assert kept is not None
        assert (kept["verdict"], kept["bundle"], report_digest(kept)) == ("pass", each.bundle, each.report)


@pytest.mark.slow
def test_of_racing_promoters_one_wins_each_round(server: str, tmp_path: Path) -> None:
    hold(tmp_path, "quick", num=8, rounds=2)


@pytest.mark.campaign
def test_64_promoters_race_20_rounds(server: str, tmp_path: Path) -> None:
    hold(tmp_path, "long", num=64, rounds=20)


@pytest.mark.slow
def test_rollbacks_race_too(server: str, tmp_path: Path) -> None:
    race = Race(tmp_path, "back", num=4)
    for number in range(2):
        race.round(number)
    before = client_log(race.client, "back")

    def back(_: int) -> str:
        race.barrier.wait()
        try:
            return roll_back("back")
        except StaleError as error:
            return str(error)

    with ThreadPoolExecutor(race.num) as pool:
        told = sorted(pool.map(back, range(race.num)))
    after = client_log(race.client, "back").accepted("champion")
    done = [line for line in told if "is champion again" in line]
    assert len(after) == len(before.accepted("champion")) + len(done)
    assert all(line.startswith("stale: ") for line in told if line not in done)


@pytest.mark.slow
def test_the_rest_api_holds_the_same_log(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    race = Race(tmp_path, "rest", num=2)
    race.round(0)
    for module in ("mlflow_rest", "promotion.reading"):
        monkeypatch.setattr(f"rewardlab.{module}.PAGE", 1)
    with httpx.Client(base_url=server, timeout=60) as client:
        store = RestRegistry(client)
        head = read(store, "rest").head("champion")
        assert head is not None
        later = entry(int(head.version), None, alias="production", run=head.run)
        assert move(store, "rest", later).head("production") == later
        assert store.records("rest") == RegistryStore(race.client).records("rest")
        assert len(store.records("rest")) >= 2  # on as many pages
        assert store.aliases("rest") == read(RegistryStore(race.client), "rest").projection()
        with pytest.raises(StaleError):
            move(store, "rest", entry(int(head.version), None, alias="production", run=head.run, by="another"))
        store.point("rest", "champion", race.labels[1].rpartition("/")[2])
        project(store, "rest")
        assert store.aliases("rest")["champion"] == head.version


@pytest.mark.slow
def test_what_the_rest_api_refuses_is_an_error(server: str) -> None:
    with httpx.Client(base_url=server, timeout=60) as client:
        store = RestRegistry(client)
        assert store.records("nothing") == []
        with pytest.raises(httpx.HTTPStatusError):
            store.aliases("nothing")
        with pytest.raises(httpx.HTTPStatusError):
            store.append("bad/name", entry(1))
