"""The life of a model in service, against a real MLflow server over HTTP: pinned, followed, swapped, refused."""

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rewardlab.bundle import CALIBRATION, GOLDEN, Bundle, seal
from rewardlab.engine import Engine
from rewardlab.files import read_json, write_json
from rewardlab.mlflow_rest import RestRegistry
from rewardlab.signing import sign
from serving.app import app_of
from serving.follow import NICENESS, Follower, load
from serving.limits import Limits
from serving.loaded_model import LoadedModel, LoadOptions
from serving.scorer import Scorer
from steps.register import RegisterConfig, register
from steps.registry.client import connect
from tests.mlflow_server import mlflow_server
from tests.rewardlab.test_signing import keys
from tests.served import running, settled

NAME = "followed"


@pytest.fixture(scope="module")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", url)
        yield url


def registered(bundle: Path, folder: Path, *, run_id: str) -> str:
    """Register a bundle that passed the gate; return its version."""
    digest = Bundle.open(bundle).digest
    write_json(folder / "gate.json", {"verdict": "pass", "reason": "", "bundle": digest, "test_digest": "t"})
    config = RegisterConfig(name=NAME, run_id=run_id, lineage={"recipe": "smoke"}, data_md5="md5")
    return register(config, bundle, {"gate": folder / "gate.json"}).label.rpartition("/")[2]


def with_wrong_golden_scores(bundle: Path, target: Path) -> Path:
    shutil.copytree(bundle, target)
    rows = [json.loads(line) for line in (target / GOLDEN).read_text().splitlines()]
    rows[0]["rewards"][0] += 1.0
    (target / GOLDEN).write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = read_json(target / "manifest.json")
    seal(target, {name: value for name, value in facts.items() if name not in ("digest", "files")})
    return target


@pytest.fixture
def registry(registry_url: str) -> Iterator[RestRegistry]:
    registry = RestRegistry.of_environment()
    yield registry
    registry.close()


@pytest.mark.slow
def test_an_alias_is_followed_without_a_failed_request_and_a_bad_bundle_changes_nothing(
    registry: RestRegistry, tiny_bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    first, second = (
        registered(bundle, tmp_path, run_id=name) for name, bundle in (("one", tiny_bundle), ("two", other_bundle))
    )
    bad = with_wrong_golden_scores(tiny_bundle, tmp_path / "bad")
    third = registered(bad, tmp_path, run_id="three")
    client = connect()
    client.set_registered_model_alias(NAME, "production", first)
    address = f"models:/{NAME}@production"
    scorer = Scorer(load(registry, registry.find(address), options=LoadOptions()), Limits(), threads=1)
    follower = Follower(registry, address, scorer, seconds=3600, options=LoadOptions())
    expected = {
        f"{NAME}/{version}": Engine(Bundle.open(bundle), threads=1).score("Hi", ["a", "b"]).rewards
        for version, bundle in ((first, tiny_bundle), (second, other_bundle))
    }
    with running(app_of(scorer, follower=follower)) as url:
        settled(url)

        async def ask_while(step: Any) -> list[dict[str, Any]]:
            stepping = asyncio.create_task(asyncio.to_thread(step))
            replies = []
            async with httpx.AsyncClient(base_url=url, timeout=30) as http:
                while not stepping.done() or len(replies) < 3:
                    answers = await asyncio.gather(
                        *(http.post("/v1/rewards", json={"prompt": "Hi", "responses": ["a", "b"]}) for _ in range(4))
                    )
                    assert {answer.status_code for answer in answers} == {200}
                    replies += [answer.json() for answer in answers]
            await stepping
            return replies

        for version, problem in ((second, None), (first, None), (third, "golden scores"), (second, None)):
            client.set_registered_model_alias(NAME, "production", version)
            for reply in asyncio.run(ask_while(follower.step)):
                assert tuple(reply["rewards"]) == pytest.approx(expected[reply["model"]], abs=1e-6)
            ready = httpx.get(f"{url}/health/ready")
            assert ready.status_code == 200
            assert (problem or "") in ready.json().get("reason", "")
            assert ("reason" in ready.json()) == (problem is not None)
            model = httpx.post(f"{url}/v1/rewards", json={"prompt": "Hi", "responses": ["a"]}).json()["model"]
            assert model == f"{NAME}/{first if version == third else version}"


@pytest.mark.slow
def test_a_pinned_version_is_loaded_and_what_is_not_there_is_named(
    registry: RestRegistry, registry_url: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    version = registered(tiny_bundle, tmp_path, run_id="pinned")
    model = load(registry, registry.find(f"models:/{NAME}/{version}"), options=LoadOptions())
    assert model.label == f"{NAME}/{version}"
    assert model.digest == Bundle.open(tiny_bundle).digest
    with pytest.raises(ValueError, match="is not signed"):
        load(registry, registry.find(f"models:/{NAME}/{version}"), options=LoadOptions(verify_key=keys(tmp_path)[1]))
    for address, part in ((f"models:/{NAME}/99", "99"), (f"models:/{NAME}@nobody", "'nobody'"), ("models:/none/1", "")):
        with pytest.raises(ValueError, match=f"cannot be found in {registry_url}.*{part}"):
            registry.find(address)


@pytest.mark.slow
def test_a_signature_travels_with_its_version(registry: RestRegistry, other_bundle: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    bundle = Path(shutil.copytree(other_bundle, tmp_path / "bundle"))
    calibration = read_json(bundle / CALIBRATION)  # else it is a version that there is
    write_json(bundle / CALIBRATION, {**calibration, "temperature": 3 * calibration["temperature"]})
    seal(bundle, read_json(bundle / "manifest.json") | {"signed": True})
    sign(bundle, private)
    version = registry.find(f"models:/{NAME}/{registered(bundle, tmp_path, run_id='signed')}")
    assert load(registry, version, options=LoadOptions(verify_key=public)).digest == Bundle.open(bundle).digest
    _, other = keys(tmp_path)
    with pytest.raises(ValueError, match="does not hold"):
        load(registry, version, options=LoadOptions(verify_key=other))


def test_a_registry_that_is_gone_leaves_the_model_in_service(tiny_bundle: Path) -> None:
    model = LoadedModel.of(Engine(Bundle.open(tiny_bundle), threads=1), name="a", version="1")
    scorer = Scorer(model, Limits())
    follower = Follower(
        RestRegistry(httpx.Client(base_url="http://127.0.0.1:9")),
        "models:/a@production",
        scorer,
        seconds=1,
        options=LoadOptions(),
    )
    follower.step()
    assert "models:/a@production cannot be followed" in (scorer.follow_problem or "")
    assert scorer.model is model


def test_what_loads_a_version_gives_way_to_what_answers_requests(tiny_bundle: Path) -> None:
    model = LoadedModel.of(Engine(Bundle.open(tiny_bundle), threads=1), name="one", version="1")
    found: dict[str, int] = {}

    class Looks(Follower):
        def step(self) -> None:
            found["loading"] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def follow() -> None:
        registry, scorer = RestRegistry(httpx.Client(base_url="http://127.0.0.1:9")), Scorer(model, Limits())
        following = asyncio.create_task(
            Looks(registry, f"models:/{NAME}@production", scorer, seconds=0.01, options=LoadOptions()).run()
        )
        while not found:
            await asyncio.sleep(0.01)
        following.cancel()

    asyncio.run(follow())
    assert found["loading"] == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


def test_only_a_server_and_an_alias_can_be_followed(tiny_bundle: Path) -> None:
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_URI"):
        RestRegistry.of_environment({"MLFLOW_TRACKING_URI": "sqlite:///a.db"})
    model = LoadedModel.of(Engine(Bundle.open(tiny_bundle), threads=1), name="a", version="1")
    registry = RestRegistry.of_environment(
        {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_TRACKING_TOKEN": "secret"}
    )
    for address in ("models:/a/3", "a@b"):
        with pytest.raises(ValueError, match="an alias is followed"):
            Follower(registry, address, Scorer(model, Limits()), seconds=1, options=LoadOptions())
    with pytest.raises(ValueError, match="models:/NAME/VERSION or models:/NAME@ALIAS"):
        registry.find("a@b")
