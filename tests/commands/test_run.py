"""`rewardlab run` and `train` from end to end, and their exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import rewardlab as library
from rewardlab.files import read_json
from tests.command import rewardlab

pytestmark = pytest.mark.slow
INSTALLED = Path(sys.executable).parent / "rewardlab"
SCHEMA = read_json(Path(library.__file__).parent / "schemas" / "summary.schema.json")


@pytest.fixture
def place(tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own, with data and an empty registry."""
    monkeypatch.chdir(tmp_path)
    assert rewardlab("make-data", "--size", 200, "--out", "data").code == 0
    return tmp_path


def run(minimum: float) -> tuple[int, Any]:
    """Run the smoke recipe with a gate that asks for an accuracy; return exit code and summary."""
    limits = [{"name": "good enough", "evidence": "evaluation.metrics.accuracy.value", "minimum": minimum}]
    settings = ["--set", "train.epochs=1", "--set", "gate.sample=null", "--set", f"gate.limits={json.dumps(limits)}"]
    done = subprocess.run(
        [INSTALLED, "run", "--recipe", "smoke", "--data", "data", "--name", "m", *settings],
        capture_output=True,
        text=True,
        check=False,
    )
    summary = read_json(Path("runs/latest/summary.json"))
    jsonschema.validate(summary, SCHEMA)
    assert done.stdout.startswith(f"decision: {summary['decision']} ("), done.stderr
    return done.returncode, summary


def test_rejected_is_3_promoted_and_unchanged_are_0(place: Path) -> None:
    code, rejected = run(1.01)
    assert (code, rejected["decision"]) == (3, "rejected")
    assert "m has no alias 'champion'" in rewardlab("evaluate", "--data", "data", "--name", "m").complaint
    code, promoted = run(0.0)
    assert (code, promoted["decision"], promoted["model"]) == (0, "promoted", "m/1")
    assert "train" in promoted["reused"]
    code, unchanged = run(0.0)
    assert (code, unchanged["decision"]) == (0, "unchanged")


def test_train_makes_a_bundle_and_registers_nothing(place: Path) -> None:
    done = rewardlab("train", "--recipe", "smoke", "--data", "data", "--out", "made", "--set", "train.epochs=1")
    assert (done.code, done.out) == (0, "bundle: made/bundle\n")
    assert library.load("made/bundle").score("Hi", ["Hello"]).truncated == (False,)
    assert rewardlab("models", "--name", "made").out == "made has no versions\n"
    assert "made exists: name a new folder" in rewardlab("train", "--out", "made").complaint
