"""Two processes train as one does: the same losses, weights and counts, whoever has how much to do."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rewardlab.files import read_json
from steps.common.progress import progress
from steps.train import train
from steps.train.launch import launch
from steps.train.order import divide
from steps.train.world import World
from tests.conftest import Once
from tests.ranks import BUDGETS, trained
from tests.steps.test_train_resume import newest, sigterm_at
from tests.toys import configured

WAYS = ("ddp", "fsdp")


@pytest.fixture(scope="module")
def alone(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Return a trainer that has trained in one process, and its checkpoints."""
    state = tmp_path_factory.mktemp("alone")
    return trained(tokens, state, World(device=torch.device("cpu"))), state


@pytest.fixture(scope="session")
def together(tokens: Path, once: Once) -> Path:
    """Return the folder of what two processes reached."""
    return once("together", lambda folder: launch("tests.ranks", ["train", tokens, folder], num_processes=2))


def states(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights and the optimizer's memory after the last step, whose single group left a process idle."""
    return load_file(folder / "step-00000007" / "state.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_reach_what_one_reaches(way: str, alone: tuple[Any, Path], together: Path) -> None:
    trainer, folder = alone
    rows = read_json(together / f"{way}-0.json")["rows"]
    assert [row["step"] for row in rows] == [3, 6, 7]
    for name in ("train_loss", "validation_loss"):
        one, two = [getattr(row, name) for row in trainer.history.rows], [row[name] for row in rows]
        np.testing.assert_allclose(two, one, atol=1e-5)
    one, two = states(folder), states(together / way)
    assert {name for name in one if not name.startswith("random")} <= two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one if name.startswith("weights")) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_validation_counts_are_those_of_one_process(way: str, alone: tuple[Any, Path], together: Path) -> None:
    trainer, _ = alone
    (wins, decided, _), *others = [read_json(together / f"{way}-{rank}.json")["counts"] for rank in (0, 1)]
    assert [(wins, decided)] * 2 == [trainer.count(trainer._data.validation)[:2], tuple(others[0][:2])]
    assert decided == sum(each.strength > 0.5 for group in trainer._data.validation for each in group.comparisons)


def test_validation_counts_do_not_depend_on_budget_or_order(alone: tuple[Any, Path]) -> None:
    trainer, _ = alone
    groups = list(trainer._data.validation)
    orders = (groups, groups[::-1], groups[5:] + groups[:5])
    counts = set()
    for budget in BUDGETS:
        trainer._config = replace(trainer._config, token_budget=budget)
        counts |= {trainer.count(order)[:2] for order in orders}
    assert len(counts) == 1
    parts = [trainer.count(part)[:2] for part in (groups[:7], groups[7:8], groups[8:])]
    assert tuple(map(sum, zip(*parts, strict=True))) == counts.pop()


@pytest.mark.slow
def test_ddp_copies_and_fsdp_shards_every_parameter(together: Path) -> None:
    shares = {way: [read_json(together / f"{way}-{rank}.json")["sizes"] for rank in (0, 1)] for way in WAYS}
    for name, (kind, total, here) in shares["ddp"][0].items():
        assert (kind, here) == (False, total), name
        (first, _, one), (second, _, other) = (sizes[name] for sizes in shares["fsdp"])
        assert (first, second, one + other) == (True, True, total), name
        assert 0 <= one - other <= total // (1 if "head" in name else 2), name
    held = [sum(here for _, _, here in sizes.values()) for sizes in shares["fsdp"]]
    assert max(held) < 0.52 * sum(held)


def test_shares_are_balanced_and_complete() -> None:
    sizes = np.random.default_rng(0).integers(20, 400, 64).tolist()
    shares = divide(sizes, 3)
    totals = [sum(sizes[index] for index in share) for share in shares]
    assert sorted(index for share in shares for index in share) == list(range(64))
    assert max(totals) <= 4 / 3 * sum(sizes) / 3
    assert divide([5], 3) == [[0], [], []]


@pytest.mark.parametrize("shown", [True, False])
def test_a_process_that_is_not_to_show_its_progress_is_silent(
    shown: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress(3, "train", shown=shown) as bar:
        bar.set_postfix_str("loss 0.5")
        bar.update(3)
    assert ("3/3" in capsys.readouterr().err) == shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", "rank 1: the second process\nsays why"),
        ("killed", "rank 1 was ended by SIGKILL, such as for want of"),
    ],
)
def test_a_failed_process_ends_the_others_and_is_named(how: str, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(ChildProcessError, match=message):
        launch("tests.ranks", ["fail", how], num_processes=2)
    assert time.monotonic() - started < 300  # the first process would wait for ten minutes


@pytest.mark.slow
def test_the_step_stops_on_sigterm_goes_on_and_ends_as_one_process(
    registry: Path, tokens: Path, tmp_path: Path
) -> None:
    usual: dict[str, Any] = {"max_groups": 24, "epochs": 10, "checkpoint_seconds": 0.0, "learning_rate": 1e-5}
    reports = {}
    for number in (1, 2):
        config, folder = configured(num_processes=number, **usual), tmp_path / str(number)
        if number == 2:
            stopped = pytest.raises(ChildProcessError, match=r"rank .: training was asked to stop at step .* of 30")
            with sigterm_at(folder / "state", 3), stopped:
                train(config, tokens, folder / "model", state=folder / "state")
            assert 3 <= newest(folder / "state") < 30
        reports[number] = train(config, tokens, folder / "model", state=folder / "state")
        assert not (folder / "state").exists()
    assert replace(reports[1], digest="") == replace(reports[2], digest="")
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("1", "2"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
