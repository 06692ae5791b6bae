"""The benchmark of training at a tiny size: every way to cut the same groups takes the same step."""

from pathlib import Path

import pytest

from benchmarks.contenders import Kind, Work, cut, learner
from benchmarks.train import on_gpu
from benchmarks.train_inputs import encode, write_start
from models.checkpoint import load_model
from rewardlab.groups import Comparison, Message, PreferenceGroup


def groups(num: int) -> list[PreferenceGroup]:
    return [
        PreferenceGroup(
            id=str(at),
            prompt=(Message("user", f"Say a number that is {at}."),),
            responses=(f"It is {at}.", "I do not know, sorry."),
            comparisons=(Comparison(better=0, worse=1),),
        )
        for at in range(num)
    ]


def test_padded_packed_and_shared_take_the_same_steps(tmp_path: Path) -> None:
    start, asked = write_start("tiny", tmp_path), encode(groups(4), "tiny")
    losses: dict[Kind, list[float]] = {}
    kinds: tuple[Kind, ...] = ("padded", "packed", "shared")
    for kind in kinds:
        model = load_model(start)[0].train()
        assert kind == "padded" or model.share_prompts()
        take = learner(model, Work(folder=start, steps=[asked, asked], learning_rate=1e-3, bf16=False))
        losses[kind] = [take(cut(kind, asked, 64), asked) for _ in range(3)]
    assert losses["shared"][2] < losses["shared"][0]
    assert losses["padded"] == pytest.approx(losses["shared"], abs=1e-5)
    assert losses["packed"] == pytest.approx(losses["shared"], abs=1e-5)


def test_fewer_layers_are_the_lowest(tmp_path: Path) -> None:
    model = load_model(write_start("tiny", tmp_path, num_layers=1))[0]
    whole = load_model(write_start("tiny", tmp_path))[0]
    kept, lowest = (each.backbone.state_dict() for each in (model, whole))
    assert [name for name in lowest if name not in kept] == [name for name in lowest if name.startswith("layers.1.")]
    assert all((lowest[name] == value).all() for name, value in kept.items())


@pytest.mark.slow
def test_the_gpu_row_is_measured_at_a_tiny_size(tmp_path: Path) -> None:
    asked = encode(groups(4), "tiny")
    rows = on_gpu(write_start("tiny", tmp_path), [asked] * 3, rival="padded", matmul_size=64)
    assert {row.row for row in rows} == {15}
    assert all(row.value is not None and row.value > 0 for row in rows)
