"""The registry on a real MLflow server over HTTP, whose artifacts go through the server too."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardlab.bundle import Bundle
from rewardlab.references import resolve
from steps.promote import promote
from tests.gated import add, report
from tests.mlflow_server import mlflow_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as url:
        yield url


def test_register_promote_and_load_over_http(
    server: str, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    gate = report(tmp_path, tiny_bundle)
    label = add(gate, tiny_bundle, name="http")
    assert promote("run", label, gate, "").decision == "promoted"
    assert list(scratch.iterdir()) == []  # what was fetched from the server to be read is gone
    folder, found = resolve("models:/http@champion")
    assert (found, Bundle.open(folder).digest) == ("http/1", Bundle.open(tiny_bundle).digest)
