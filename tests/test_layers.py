"""The walls between the rooms: each is broken on purpose to see it caught."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

ROOMS = ("rewardlab", "models", "synthetic", "steps", "components", "pipelines", "commands", "serving")
BREAKS = {
    "Rooms stand in one direction": ("models/config.py", "steps.gate"),
    "The server knows the ground alone": ("serving/limits.py", "models.config"),
    "Nobody imports the server": ("pipelines/code_digest.py", "serving.limits"),
    "The ground is light": ("rewardlab/chat.py", "torch"),
    "Only the function that resolves models:/ imports mlflow": ("rewardlab/bundle.py", "mlflow"),
    "Only the engine imports ONNX Runtime in the ground": ("rewardlab/metrics.py", "onnxruntime"),
    "Only components and pipelines import kfp": ("steps/common/duplicates.py", "kfp.dsl"),
    "Steps meet only through files": ("steps/gate/rules.py", "steps.promote"),
}
ALIAS = re.compile(
    r"model_version_by_alias|registered_model_alias|get_registered_model|registered-models/|\.aliases[.(\[]"
)
"""How an alias is read or set: in MLflow's client, in its REST API, in a `rewardlab.promotion.Reader`."""
ALIAS_PLACES = {"rewardlab/promotion/reading.py", "rewardlab/promotion/moving.py"}
"""Where aliases are resolved, and where they are set by the promotion log."""
ALIAS_CLIENTS = {"rewardlab/mlflow_rest.py", "steps/registry/client.py"}
"""Where a `Store` is kept on MLflow: what it says goes through `ALIAS_PLACES`."""


def lint(folder: Path) -> dict[str, bool]:
    """Return whether each contract is kept in a folder that holds the rooms."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = {name: f"{name} KEPT" in done.stdout for name in BREAKS}
    assert (done.returncode == 0) == all(found.values()), done.stdout + done.stderr
    assert all(kept or f"{name} BROKEN" in done.stdout for name, kept in found.items()), done.stdout + done.stderr
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with a copy of the rooms."""
    for room in (*ROOMS, "benchmarks", "docs"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def add(file: Path, text: str) -> None:
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_every_contract_is_kept() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter", encoding="utf-8")
    names = {config[section]["name"] for section in config.sections() if ":contract:" in section}
    assert names == BREAKS.keys()
    assert lint(ROOT) == dict.fromkeys(BREAKS, True)


@pytest.mark.parametrize("name", BREAKS)
def test_a_wrong_import_breaks_its_contract(name: str, copy: Path) -> None:
    file, module = BREAKS[name]
    add(copy / file, f"\n\ndef _wrong() -> None:\n    import {module}\n")
    assert lint(copy)[name] is False


def alias_places(root: Path) -> set[str]:
    """Return the files that read or set an alias."""
    files = [path for room in ROOMS for path in (root / room).rglob("*.py")]
    return {path.relative_to(root).as_posix() for path in files if ALIAS.search(path.read_text(encoding="utf-8"))}


def test_an_alias_is_resolved_in_one_place(copy: Path) -> None:
    assert alias_places(ROOT) == ALIAS_PLACES | ALIAS_CLIENTS
    for number, line in enumerate(
        (
            'client.get_model_version_by_alias("m", "champion")',
            'client.get_registered_model("m").aliases.get("champion")',
            'client.get("/api/2.0/mlflow/registered-models/alias")',
            'store.aliases("m")["champion"]',
        )
    ):
        room = ROOMS[number]
        (copy / room / "second.py").write_text(line)
        assert alias_places(copy) == ALIAS_PLACES | ALIAS_CLIENTS | {f"{room}/second.py"}
        (copy / room / "second.py").unlink()
