"""`rewardlab run`: whole runs of the compiled pipeline on this machine, with a registry and a home of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rewardlab.config import canonical_json
from rewardlab.files import read_json
from steps.registry.client import champion_record, connect
from steps.registry.lineage import lineage
from steps.registry.versions import list_versions
from synthetic import MakeDataConfig, make_data
from tests.command import rewardlab

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "rewardlab" / "schemas" / "summary.schema.json"
CACHED = ["fetch", "ingest", "validate", "split", "tokenize", "train", "export", "audit"]
SETTINGS: dict[str, Any] = {
    "split.train": 0.5,
    "split.validation": 0.15,
    "split.calibration": 0.15,
    "split.test": 0.2,
    "train.epochs": 1,
    "train.groups_per_step": 16,
    "gate.limits": [{"name": "measured", "evidence": "evaluation.metrics.accuracy.value", "minimum": 0.0}],
    "gate.sample": None,
}
EXIT_CODES = {"promoted": 0, "unchanged": 0, "failed": 1, "rejected": 3}
IMPOSSIBLE: dict[str, Any] = {
    "gate.limits": [{"name": "perfect", "evidence": "evaluation.metrics.accuracy.low", "minimum": 0.999}]
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with `data`, made the current one, with a home of its own."""
    folder = tmp_path_factory.mktemp("place")
    make_data(MakeDataConfig(size=120), folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("REWARDLAB_HOME", str(folder / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


def options(more: dict[str, Any]) -> list[str]:
    """Return the options of `rewardlab run`: the usual settings, and more of them with `__` for the dot."""
    settings = SETTINGS | {key.replace("__", "."): value for key, value in more.items()}
    return ["--recipe=smoke", *(f"--set={key}={canonical_json(value)}" for key, value in settings.items())]


def go(place: Path, *, name: str = "m", data: str = "data", cache: bool = True, **more: Any) -> dict[str, Any]:
    """Run the pipeline, hold its exit code and words against its summary, and return that."""
    caching = "--cache" if cache else "--no-cache"
    done = rewardlab("run", "--data", place / data, "--name", name, caching, *options(more))
    latest = Path("runs") / "latest"
    summary: dict[str, Any] = read_json(latest / "summary.json")
    jsonschema.validate(summary, read_json(SCHEMA))
    assert done.code == EXIT_CODES[summary["decision"]], done.err
    assert done.out.startswith(f"decision: {summary['decision']} ("), done.out
    assert (latest / "report.html").stat().st_size > 1000
    return summary


@pytest.fixture(scope="module")
def first(place: Path) -> dict[str, Any]:
    return go(place)


def champion(name: str = "m") -> str:
    record = champion_record(connect(), name)
    return record.label if record else ""


def test_a_first_run_is_promoted(place: Path, first: dict[str, Any]) -> None:
    assert (first["decision"], first["model"], first["reused"]) == ("promoted", "m/1", [])
    assert set(first["seconds"]) == {"resolve", *CACHED, "evaluate", "gate", "register", "promote"}
    assert first["lineage"]["data_md5"].endswith(".dir")
    assert [row.aliases for row in list_versions("m")] == [("champion",)]
    reports = {path.stem for path in (Path("runs") / first["lineage"]["run_id"] / "reports").iterdir()}
    assert reports == {"evaluation", "audit", "gate", "validation", "split", "training", "export"}


def test_every_artifact_names_the_data_it_comes_from(place: Path, first: dict[str, Any]) -> None:
    made = list((place / "home" / "steps").rglob("executor_output.json"))
    artifacts = {
        name: each["metadata"]
        for path in made
        for name, found in read_json(path).get("artifacts", {}).items()
        for each in found["artifacts"]
    }
    names = "data groups accepted splits tokens model bundle parity evaluation findings decision"
    assert artifacts.keys() == {*names.split()}
    assert {about["data_md5"] for about in artifacts.values()} == {first["lineage"]["data_md5"]}
    assert all(len(about["digest"]) == 64 for about in artifacts.values())
    assert lineage("1", name="m").bundle.made_from["data_md5"] == first["lineage"]["data_md5"]


def test_a_second_run_is_unchanged_and_reuses(place: Path, first: dict[str, Any]) -> None:
    second, third = go(place), go(place)
    ends = {(run["decision"], run["reason"]) for run in (second, third)}
    assert ends == {("unchanged", "the bundle is the champion's own (m/1)")}
    assert second["reused"] == CACHED  # evaluate looks at a champion that was not there before
    assert set(third["reused"]) == {*CACHED, "evaluate"}  # the gate asks how old the evidence is
    assert second["metrics"] == first["metrics"]
    assert len(list_versions("m")) == 1


def test_a_run_without_the_cache_makes_the_same_bundle(place: Path, first: dict[str, Any]) -> None:
    again = go(place, cache=False)
    assert (again["decision"], again["reused"], again["model"]) == ("unchanged", [], "m/1")


def test_a_rejecting_gate_leaves_the_champion_alone(place: Path, first: dict[str, Any]) -> None:
    before = champion()
    rejected = go(place, train__seed=1, **IMPOSSIBLE)
    assert (rejected["decision"], champion()) == ("rejected", before)
    assert rejected["reason"].startswith("perfect: ")
    assert "promote" not in rejected["seconds"]
    assert rejected["reused"] == CACHED[:5]


def test_after_a_failed_step_is_mended_the_run_goes_on_from_it(place: Path, first: dict[str, Any]) -> None:
    diverging: dict[str, Any] = {"train__loss": "mse", "train__head_learning_rate": 1e30}
    broken = go(place, **diverging)
    assert broken["decision"] == "failed"
    assert "train: DivergedError: the loss is" in broken["reason"]
    assert "diverged before" in go(place, **diverging)["reason"]
    mended = go(place, train__seed=2)
    assert (mended["decision"] != "failed", mended["reused"]) == (True, CACHED[:5])


def test_two_runs_at_once_both_end_well(place: Path, first: dict[str, Any]) -> None:
    command = [sys.executable, "-c", "from commands.cli import main; main()", "run", "--name=race", *options({})]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    runs = [
        subprocess.Popen([*command, "--data=data"], env=environment, stderr=subprocess.DEVNULL, stdout=-1)
        for _ in range(2)
    ]
    texts = [process.communicate(timeout=600)[0].decode() for process in runs]
    decisions = sorted(text.split()[1] for text in texts)
    assert decisions in (["promoted", "unchanged"], ["promoted", "rejected"])
    assert [process.returncode for process in runs].count(0) >= 1
    versions = list_versions("race")
    assert [row.aliases for row in versions].count(("champion",)) == 1
    assert champion("race").startswith("race/")


def test_an_unreachable_registry_fails_with_a_summary(
    place: Path, first: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    lost = go(place)
    assert lost["decision"] == "failed"
    assert lost["reason"].startswith("resolve: the registry http://127.0.0.1:9 cannot be reached: start it")
    assert "report: " not in lost["reason"]


def test_bad_data_fail_with_the_step_and_the_reason(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "preferences.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00 not a gzip file")
    broken = go(tmp_path, data="bad")
    assert broken["decision"] == "failed"
    assert broken["reason"].startswith("ingest: ")
    assert "preferences.jsonl.gz" in broken["reason"]
    assert set(broken["seconds"]) == {"resolve", "fetch", "ingest", "report"}


def test_data_that_are_not_there_fail_the_run(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "resolve: there is no data at" in go(tmp_path, data="nowhere")["reason"]
