"""What a pod of the pipeline finds of the things that its steps need."""

from pathlib import Path

import pytest

from steps.common.cluster_checks import check_cluster
from steps.resolve import ResolveConfig
from tests.steps.test_fetch import repository

__all__ = ["repository"]


def test_where_all_is_there_each_check_says_what_it_found(repository: Path, registry: Path) -> None:
    findings = check_cluster(ResolveConfig(name="m", repository=f"file://{repository}"), remote="")
    assert [(each.name, each.ok) for each in findings] == [
        ("registry", True),
        ("data", True),
        ("volume", True),
        ("where data are stored", True),
    ]
    assert findings[1].detail.endswith(".dir")
    assert findings[3].line.startswith("ok   where data are stored: data/")


def test_what_is_missing_is_named(
    repository: Path, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "file").touch()
    monkeypatch.setenv("REWARDLAB_HOME", str(tmp_path / "file" / "home"))
    config = ResolveConfig(name="m", repository=f"file://{repository}", revision="nowhere")
    found = {each.name: each for each in check_cluster(config, remote=f"file://{tmp_path}/empty")}
    assert not any(each.ok for each in found.values())
    assert "the registry http://127.0.0.1:9 cannot be reached" in found["registry"].detail
    assert "git has no data.dvc" in found["data"].detail
    assert "cannot bring data of" in found["where data are stored"].detail
    assert found["volume"].line.startswith("FAIL volume: ")


def test_a_pod_without_the_config_map_keeps_no_registry_of_its_own(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "pod")
    (found, *_) = check_cluster(ResolveConfig(name="m", data=str(registry)), remote="")
    assert (found.ok, "MLFLOW_TRACKING_URI names none" in found.detail) == (False, True)
