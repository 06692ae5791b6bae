"""A training that is killed, stopped or damaged goes on from its checkpoint as if nothing had happened."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.config import ModelConfig
from rewardlab.files import read_json
from steps.registry.client import EXPERIMENT, connect
from steps.train import TrainConfig, train
from steps.train.state import Checkpoints, held
from steps.train.stop import StoppedError
from tests.toys import configured

CHANGING = ("tokens_per_s", "peak_rss_bytes")
PROGRAM = """
import sys
from pathlib import Path
from steps.train import TrainConfig, train
config, tokens, target, state = sys.argv[1:]
train(TrainConfig.from_json(config), Path(tokens), Path(target), state=Path(state))
"""


def settings(**changes: Any) -> TrainConfig:
    """Return 32 steps with dropout, a checkpoint at each."""
    model = ModelConfig(backbone="tiny", dropout=0.1)
    usual = {"model": model, "epochs": 8, "validate_every": 5, "patience": 99, "checkpoint_seconds": 0.0}
    return configured(**{**usual, **changes})


@pytest.fixture(scope="module")
def unbroken(toy_tokens: Path, tmp_path_factory: pytest.TempPathFactory, registry_template: Path) -> Path:
    """Return the model of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REWARDLAB_HOME", str(shutil.copytree(registry_template, folder / "home")))
        train(settings(), toy_tokens, folder / "model", state=folder / "state")
    return folder / "model"


def outcome(model: Path) -> tuple[bytes, list[dict[str, float]]]:
    """Return the weights' bytes, and the history without what was measured of the machine."""
    rows = read_json(model / "training.json")["history"]
    kept = [{name: value for name, value in row.items() if name not in CHANGING} for row in rows]
    return (model / "model.safetensors").read_bytes(), kept


def ends() -> list[str]:
    """Return how the MLflow runs of all tries ended."""
    client = connect()
    found = client.get_experiment_by_name(EXPERIMENT)
    return sorted(run.info.status for run in client.search_runs([found.experiment_id])) if found else []


def newest(state: Path) -> int:
    return max((int(path.name.removeprefix("step-")) for path in state.glob("step-*")), default=0)


def wait_for_step(state: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while newest(state) < step:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def sigterm_at(state: Path, step: int) -> Iterator[None]:
    """Send this process SIGTERM when the block has trained so far."""

    def send() -> None:
        wait_for_step(state, step)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    yield
    sender.join()


def stop_at(step: int, tokens: Path, folder: Path, config: TrainConfig) -> None:
    with sigterm_at(folder / "state", step), pytest.raises(StoppedError, match="the same command goes on from there"):
        train(config, tokens, folder / "model", state=folder / "state")
    assert step <= newest(folder / "state") < 32


def go_on(tokens: Path, folder: Path) -> None:
    train(settings(), tokens, folder / "model", state=folder / "state")


def test_sigterm_checkpoints_and_the_same_call_goes_on(
    registry: Path, toy_tokens: Path, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_at(4, toy_tokens, tmp_path, settings(checkpoint_seconds=0.01))
    assert ends() == ["KILLED"]
    step = newest(tmp_path / "state")
    go_on(toy_tokens, tmp_path)
    assert ends() == ["FINISHED", "KILLED"]
    assert f"goes on from its checkpoint at step {step}" in capsys.readouterr().err
    assert outcome(tmp_path / "model") == outcome(unbroken)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("damage", ["tensors", "facts", "lost"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage: str, registry: Path, toy_tokens: Path, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_at(7, toy_tokens, tmp_path, settings())
    step = newest(tmp_path / "state")
    file = Checkpoints(tmp_path / "state").path(step) / ("state.json" if damage == "facts" else "state.safetensors")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content) if damage != "lost" else file.unlink()
    go_on(toy_tokens, tmp_path)
    said = capsys.readouterr().err
    assert f"step-{step:08d} is damaged" in said
    assert f"goes on from its checkpoint at step {step - 1}" in said
    assert outcome(tmp_path / "model") == outcome(unbroken)


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for step, best in ((1, 0), (2, 2), (3, 2), (4, 2), (5, 5), (6, 5)):
        kept.write(step, {"a": torch.full((2,), float(step))}, {"step": step, "best_step": best})
        assert {int(path.name[-8:]) for path in tmp_path.iterdir()} <= {step, step - 1, 2, best}
    assert sorted(int(path.name[-8:]) for path in tmp_path.iterdir()) == [5, 6]
    assert kept.tensors(5)["a"].tolist() == [5.0, 5.0]
    assert (kept.newest() or {})["step"] == 6
    (kept.path(5) / "state.safetensors").write_bytes(b"")
    assert kept.newest() is None


def test_one_process_trains_the_same_at_a_time(registry: Path, toy_tokens: Path, tmp_path: Path) -> None:
    (tmp_path / "state" / ".step-00000001.half").mkdir(parents=True)
    with held(tmp_path / "state"):
        assert not list((tmp_path / "state").iterdir())
        with pytest.raises(ValueError, match="the same training is under way in another process"):
            go_on(toy_tokens, tmp_path)


def start(tokens: Path, folder: Path, config: TrainConfig) -> subprocess.Popen[bytes]:
    arguments = (config.to_json(), tokens, folder / "model", folder / "state")
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, arguments)])


def kill_at(moments: list[float], tokens: Path, folder: Path, config: TrainConfig) -> None:
    """Kill the training at moments, each in seconds after a new checkpoint, and let the last try end."""
    for seconds in moments:
        before = newest(folder / "state")
        with start(tokens, folder, config) as process:
            while newest(folder / "state") == before and process.poll() is None:
                time.sleep(0.001)
            time.sleep(seconds)
            process.kill()
    with start(tokens, folder, config) as process:
        assert process.wait() == 0


@pytest.mark.slow
def test_kill_9_changes_no_bit(registry: Path, toy_tokens: Path, unbroken: Path, tmp_path: Path) -> None:
    kill_at([0.0, 0.05], toy_tokens, tmp_path, settings())
    assert outcome(tmp_path / "model") == outcome(unbroken)
    assert ends() == ["FINISHED", "KILLED", "KILLED"]


@pytest.mark.campaign
def test_kill_9_at_20_random_moments_changes_no_bit(
    registry: Path, toy_tokens: Path, unbroken: Path, tmp_path: Path
) -> None:
    moments = [random.Random(seed).uniform(0, 0.1) for seed in range(20)]
    kill_at(moments, toy_tokens, tmp_path, settings())
    assert outcome(tmp_path / "model") == outcome(unbroken)


@pytest.mark.campaign
def test_kill_9_at_20_random_moments_with_two_processes(registry: Path, toy_tokens: Path, tmp_path: Path) -> None:
    config = settings(num_processes=2, model=ModelConfig(backbone="tiny"))
    train(config, toy_tokens, tmp_path / "whole" / "model", state=tmp_path / "whole" / "state")
    moments = [random.Random(seed).uniform(0, 0.1) for seed in range(20)]
    kill_at(moments, toy_tokens, tmp_path / "killed", config)
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert max(float((one[name] - other[name]).abs().max()) for name in one) <= 1e-6
