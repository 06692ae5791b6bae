"""The walls between the rooms, and the limits of size: each is broken on purpose to see it caught."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sizes import ROOT, too_long

ROOMS = ("rewardlab", "models", "steps", "components", "pipelines", "serving")
BREAKS = {
    "Rooms stand in one direction": ("models/config.py", "steps.gate"),
    "The server knows the ground alone": ("serving/limits.py", "models.config"),
    "Nobody imports the server": ("pipelines/source.py", "serving.limits"),
    "The ground is light": ("rewardlab/chat.py", "torch"),
    "Only the function that resolves models:/ imports mlflow": ("rewardlab/bundle.py", "mlflow"),
    "Only the engine imports ONNX Runtime in the ground": ("rewardlab/metrics.py", "onnxruntime"),
    "Only components and pipelines import kfp": ("steps/duplicates.py", "kfp.dsl"),
    "Steps meet only through files": ("steps/gate/rules.py", "steps.promote"),
}


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
    for room in ROOMS:
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


def test_sizes_are_kept() -> None:
    assert list(too_long()) == []


def test_what_is_too_long_is_named(copy: Path) -> None:
    add(copy / "models/config.py", "#\n" * 300)
    add(copy / "steps/gate/rules.py", "\n\ndef long() -> None:\n" + "    pass\n" * 60)
    add(copy / "components/gate.py", "\n\ndef stub() -> None:\n" + "    pass\n" * 27)
    found = list(too_long(copy))
    assert [line.partition(":")[0] for line in found] == [
        "models/config.py",
        "steps/gate/rules.py",
        "components/gate.py",
    ]
    assert found[0].endswith("lines, split at 300")
    assert "long has 61 lines, split at 60" in found[1]
    assert "stub has 28 lines, split at 27" in found[2]
