"""The benchmark of training at a tiny size: every way to cut the same groups takes the same step."""

from pathlib import Path

import pytest

from benchmarks.contenders import Kind, Work, cut, learner
from benchmarks.train import on_gpu
from benchmarks.train_inputs import encode, write_start
from benchmarks.train_quality import Course, quality
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


@pytest.mark.slow
def test_quality_is_compared_over_seeds_and_what_a_seed_gave_is_kept(tmp_path: Path) -> None:
    sizes = {"backbone": "tiny", "num_layers": 0, "freeze_layers": 1, "num_pairs": 32, "rival": "padded"}
    kept = tmp_path / "kept"
    kept.mkdir()
    first, second = tmp_path / "first", tmp_path / "second"
    rows = quality(Course(folder=first, kept=kept, seeds=(0, 1), **sizes), tmp_path)
    assert [row.unit for row in rows] == ["", "CPU s"] * 4 + [""]
    assert (rows[-1].status, rows[-1].target) == ("met", -0.02)
    assert abs(rows[-1].value or 0.0) < 0.02
    assert sorted(path.name for path in kept.iterdir()) == ["embedded-0.json", "embedded-1.json"]
    assert quality(Course(folder=second, kept=kept, seeds=(0, 1), **sizes), tmp_path) == rows
    assert not list(second.glob("start-*"))
