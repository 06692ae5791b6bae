"""What stops training: a loss that is not finite, nothing to validate on, and settings that cannot work."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rewardlab.files import read_json
from rewardlab.groups import PreferenceGroup
from steps.registry.client import EXPERIMENT, connect
from steps.train.marker import DivergedError
from steps.train.order import shuffled
from tests.toys import configured, fit, only_run, tokenized, toy


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ([], "the validation split holds no group with comparisons"),
        ([toy("x", labels="ties")], "the validation split holds nothing but ties"),
    ],
)
def test_nothing_to_validate_on_is_refused(
    validation: list[PreferenceGroup], message: str, registry: Path, tmp_path: Path
) -> None:
    tokens = tokenized(tmp_path, [toy("a"), toy("b")], validation)
    with pytest.raises(ValueError, match=message):
        fit(tokens, tmp_path)


def poisoned(folder: Path) -> tuple[Path, str]:
    """Return tokens of which one group, in the third step, has a margin that no float32 holds, and its name."""
    order = list(shuffled([(at, at + 1) for at in range(0, 32, 2)], seed=0, epoch=0))
    groups = [toy(f"thing {number}", margin=1e300 if number == order[20] else None) for number in range(48)]
    return tokenized(folder, groups[:32], groups[32:]), f"thing {order[20]}"


def test_a_loss_that_is_not_finite_stops_it_and_a_blind_retry(registry: Path, tmp_path: Path) -> None:
    tokens, culprit = poisoned(tmp_path)
    with pytest.raises(DivergedError, match=r"the loss is inf at step 3, on groups .*last good checkpoint") as raised:
        fit(tokens, tmp_path)
    marker = read_json(tmp_path / "state" / "diverged.json")
    assert culprit in str(raised.value)
    assert (marker["step"], culprit in marker["groups"]) == (3, True)
    assert all(
        torch.isfinite(value).all() for value in load_file(Path(marker["checkpoint"]) / "state.safetensors").values()
    )
    assert not (tmp_path / "model").exists()
    with pytest.raises(DivergedError, match=r"to try the same again, delete .*diverged.json"):
        fit(tmp_path / "not even read", tmp_path)
    (tmp_path / "state" / "diverged.json").unlink()
    with pytest.raises(DivergedError, match="at step 3"):
        fit(tokens, tmp_path)


def test_weights_that_explode_are_never_kept(registry: Path, tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"at step 1, on groups .*none was reached"):
        fit(tokens, tmp_path, head_learning_rate=1e30, loss="mse", max_groups=8)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["diverged.json"]
    assert only_run().info.status == "FAILED"


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 is refused on a CPU alone")
def test_fp16_is_refused_on_a_cpu(registry: Path, toy_tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        fit(toy_tokens, tmp_path, precision="fp16")
    assert connect().get_experiment_by_name(EXPERIMENT) is None


def test_a_group_beyond_the_budget_is_refused_before_the_first_step(
    registry: Path, toy_tokens: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="the budget is 16 tokens: raise it"):
        fit(toy_tokens, tmp_path, token_budget=16)
    assert connect().get_experiment_by_name(EXPERIMENT) is None


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"warmup_share": 1.0}, {"max_groups": -1}, {"seed": -1}]
)
def test_a_wrong_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        configured(**wrong)
