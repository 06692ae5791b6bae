"""DVC's remote and MLflow's artifacts on S3: all three are servers or repositories of this machine."""

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardlab.bundle import Bundle
from rewardlab.references import resolve
from steps.fetch import FetchConfig, fetch
from steps.promote import promote
from steps.resolve import data_version
from tests.gated import add, report
from tests.mlflow_server import mlflow_server
from tests.s3_server import Store, s3_server
from tests.steps.test_fetch import commit, run

CONFIG = "[core]\nanalytics=false\nremote=store\n['remote \"store\"']\nurl=s3://dvc/store\n"
CONFIG += "['remote \"archive\"']\nurl=s3://dvc/archive\n"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return a server that every tool of the module's tests finds."""
    with s3_server("dvc", "mlflow") as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.variables.items():
            patch.setenv(name, value)
        yield store


@pytest.fixture(scope="module")
def repository(s3: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository whose data lie on S3 alone: the first version in `store`, the second in `archive` too."""
    root = tmp_path_factory.mktemp("repository")
    run(root, "git", "init", "-q", "-b", "main")
    (root / ".gitignore").write_text("/data\n")
    with warnings.catch_warnings(action="ignore"):
        from dvc.repo import Repo

        Repo.init(str(root)).close()
        (root / ".dvc" / "config").write_text(CONFIG)
        for text, remotes in (("one", ("store",)), ("two", ("store", "archive"))):
            (root / "data").mkdir(exist_ok=True)
            (root / "data" / "a.jsonl").write_text(text)
            with Repo(str(root)) as dvc:
                dvc.add(str(root / "data"))
                for remote in remotes:
                    dvc.push(remote=remote)
            commit(root)
    shutil.rmtree(root / ".dvc" / "cache")
    return root


def brought(repository: Path, target: Path, *, revision: str = "", remote: str = "") -> str:
    """Return the data's text, fetched as a pod does: by the repository's address, with nothing at hand."""
    where = f"file://{repository}"
    md5 = data_version(where, revision, "").md5
    config = FetchConfig(repository=where, revision=revision, remote=remote, data_md5=md5)
    fetch(config, target)
    return (target / "data" / "a.jsonl").read_text()


def test_data_come_from_the_repository_s_remote_on_s3(repository: Path, s3: Store, tmp_path: Path) -> None:
    assert len([key for key in s3.keys("dvc") if key.startswith("store/files/md5/")]) == 4
    assert brought(repository, tmp_path / "new") == "two"
    assert brought(repository, tmp_path / "old", revision="HEAD~1") == "one"


@pytest.mark.parametrize("remote", ["archive", "s3://dvc/archive"])
def test_another_remote_is_named_or_given_by_its_address(remote: str, repository: Path, tmp_path: Path) -> None:
    assert brought(repository, tmp_path / "new", remote=remote) == "two"
    with pytest.raises(ValueError, match=f"cannot bring data of file://.* at HEAD~1 from {remote}"):
        brought(repository, tmp_path / "old", revision="HEAD~1", remote=remote)


@pytest.mark.parametrize("remote", ["nowhere", "s3://gone/store"])
def test_a_remote_that_is_not_there_is_named(remote: str, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"cannot bring data .* from {remote}"):
        brought(repository, tmp_path / "out", remote=remote)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("proxied", [True, False], ids=["through the server", "from the client"])
def test_bundles_lie_on_s3_and_are_loaded_from_there(
    proxied: bool, s3: Store, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"s3://mlflow/{proxied}"
    with mlflow_server(tmp_path, artifacts=folder, proxied=proxied) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        gate = report(tmp_path, tiny_bundle)
        label = add(gate, tiny_bundle, name="s3")
        assert promote("run", label, gate, "").decision == "promoted"
        found, name = resolve("models:/s3@champion")
        assert (name, Bundle.open(found).digest) == ("s3/1", Bundle.open(tiny_bundle).digest)
    kept = [key for key in s3.keys("mlflow") if key.startswith(f"{proxied}/")]
    assert {key.rpartition("/")[2] for key in kept} >= {path.name for path in tiny_bundle.iterdir()}
    assert not list(tmp_path.rglob("model.onnx"))
