"""`rewardlab train`: a bundle, and nothing in a registry."""

from pathlib import Path

import pytest

import rewardlab as library
from tests.command import rewardlab


@pytest.mark.slow
def test_train_makes_a_bundle_and_registers_nothing(
    tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert rewardlab("make-data", "--size", 200, "--out", "data").code == 0
    done = rewardlab("train", "--recipe", "smoke", "--data", "data", "--out", "made", "--set", "train.epochs=1")
    assert (done.code, done.out) == (0, "bundle: made/bundle\n")
    assert library.load("made/bundle").score("Hi", ["Hello"]).truncated == (False,)
    assert rewardlab("models", "--name", "made").out == "made has no versions\n"
    assert "made exists: name a new folder" in rewardlab("train", "--out", "made").complaint
