"""Eight bits: rewards that depend on nothing but the row, measured against fp32, sealed only when close enough."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from models.config import ModelConfig
from models.reward_model import build_model
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.engine.session import Session
from rewardlab.files import read_groups, read_json
from rewardlab.readout import Pooling, ReadOut
from rewardlab.tokens import TokenTree
from steps.export import ExportConfig, export
from steps.export.graph import write_onnx
from steps.export.int8 import largest_columns, quantize_rows
from steps.export.precision import Budget, Trial, changes, choose, judge
from tests.steps.test_export import leaves, trees

GOOD: dict[str, Any] = {"shortfalls": [], "speedup": 2.0}


def quantized(name: str, pooling: Pooling, folder: Path, request: pytest.FixtureRequest) -> tuple[Session, Session]:
    model = build_model(ModelConfig(backbone=name, pooling=pooling), request.getfixturevalue(name)).eval()
    write_onnx(model, folder / "fp32.onnx")
    largest = largest_columns(folder / "fp32.onnx", trees(), pad_id=0)
    assert len(largest) == 8
    assert quantize_rows(folder / "fp32.onnx", folder / "w8a8.onnx", largest=largest) in (12, 14)
    wide, narrow = (Session(folder / f"{each}.onnx", pad_id=0, threads=1) for each in ("fp32", "w8a8"))
    return wide, narrow


@pytest.mark.parametrize(
    ("name", "pooling"), [("tiny_folder", "last_token"), ("tiny_folder", "mean"), ("encoder_folder", "mean")]
)
def test_w8a8_is_near_fp32_and_no_reward_depends_on_another(
    name: str, pooling: Pooling, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    wide, narrow = quantized(name, pooling, tmp_path, request)
    exact, found = wide.run(trees()), narrow.run(trees())
    error = np.sqrt(np.mean((exact - found) ** 2)) / exact.std()
    assert 0 < error < 0.05
    rescored(narrow, Session(tmp_path / "w8a8.onnx", pad_id=9, threads=2, cache_bytes=0), times=100)


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["tiny_folder", "encoder_folder"])
def test_10_000_rescorings_are_the_same_to_the_bit(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    _, narrow = quantized(name, "mean", tmp_path, request)
    rescored(narrow, Session(tmp_path / "w8a8.onnx", pad_id=9, threads=2, cache_bytes=0), times=10_000)


def rescored(first: Session, second: Session, *, times: int) -> None:
    """Score random batches, in random order, shared or not, with either session, against each response alone."""
    rng, texts = random.Random(0), trees(prompts=(0, 3, 16, 61, 130), num=6)
    alone = {
        (tree.prompt, each): first.run([leaves(tree.prompt, [each])])[0] for tree in texts for each in tree.responses
    }
    for _ in range(times):
        chosen = rng.sample(list(alone), rng.randint(1, 12))
        shared: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for prompt, response in chosen:
            shared.setdefault(prompt, []).append(response)
        grouped = [leaves(prompt, each) for prompt, each in shared.items()]
        batch: list[TokenTree] = grouped if rng.random() < 0.5 else [leaves(prompt, [each]) for prompt, each in chosen]
        expected = [alone[tree.prompt, each] for tree in batch for each in tree.responses]
        assert rng.choice((first, second)).run(batch).tolist() == expected


def layer(weights: np.ndarray[Any, Any], bias: np.ndarray[Any, Any], target: Path) -> None:
    """Write a graph of one linear layer from `x` to `y`."""
    x, y = (
        onnx.helper.make_tensor_value_info(name, 1, ["n", size]) for name, size in zip("xy", weights.shape, strict=True)
    )
    arrays = ((weights, "w"), (bias, "b"))
    constants = [onnx.numpy_helper.from_array(each.astype(np.float32), name) for each, name in arrays]
    node = onnx.helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    graph, opset = onnx.helper.make_graph([node], "g", [x], [y], constants), onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), target)


def computed(graph: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    (y,) = onnxruntime.InferenceSession(graph).run(None, {"x": x.astype(np.float32)})
    return np.asarray(y)


def test_a_row_is_quantized_by_its_own_largest_value(tmp_path: Path) -> None:
    layer(np.array([[1, -2], [0.5, 0], [127, 1]]), np.array([0.0, 1.0]), tmp_path / "a.onnx")
    quantize_rows(tmp_path / "a.onnx", tmp_path / "b.onnx")
    y = computed(tmp_path / "b.onnx", np.array([[127, 1, 0], [1e-3, 0, 0.5e-3], [0, 0, 0]]))
    np.testing.assert_allclose(y, [[127, -253], [0.064, 0.9985], [0, 1]], rtol=2e-2)
    assert "Gemm" not in {node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node}


def test_a_column_far_larger_than_the_others_costs_them_less_once_it_is_evened_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights, x = rng.normal(size=(64, 16)), rng.normal(size=(100, 64))
    x[:, 5] *= 100
    layer(weights, np.zeros(16), tmp_path / "a.onnx")
    quantize_rows(tmp_path / "a.onnx", tmp_path / "plain.onnx")
    largest = {"x": np.abs(x).max(axis=0).astype(np.float32), "another": np.ones(3, np.float32)}
    quantize_rows(tmp_path / "a.onnx", tmp_path / "even.onnx", largest=largest)
    exact = x @ weights
    plain, even = (float(np.std(computed(tmp_path / f"{each}.onnx", x) - exact)) for each in ("plain", "even"))
    assert 0 < even < plain / 4


def test_columns_are_measured_on_tokens_and_not_on_padding(tmp_path: Path, tiny_folder: Path) -> None:
    model = build_model(ModelConfig(backbone="tiny_folder"), tiny_folder).eval()
    write_onnx(model, tmp_path / "fp32.onnx")
    texts = trees(prompts=(3, 9), num=2)
    found, other = (largest_columns(tmp_path / "fp32.onnx", texts, pad_id=pad) for pad in (0, 77))
    assert {name: each.tolist() for name, each in found.items()} == {n: each.tolist() for n, each in other.items()}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fp32.onnx"]
    assert all((each > 0).any() for each in found.values())


def test_changes_say_what_moved(splits: Path) -> None:
    groups = list(read_groups(splits / "calibration.jsonl.gz"))[:40]
    num = sum(len(group.responses) for group in groups)
    wide = np.random.default_rng(0).normal(size=num).astype(np.float32)
    trial = Trial(groups, [], 0, 1.0)
    same, moved = changes(wide, wide.copy(), trial), changes(wide, -wide, trial)
    assert (same["rms_error_sd"], same["flip_rate"], same["flip_rate_decided"]) == (0, 0, 0)
    assert (same["best_of"]["agreement"], same["ece_change"], same["accuracy_change"]["low"]) == (1, 0, 0)
    assert (moved["flip_rate"], moved["spearman"], moved["best_of"]["agreement"]) == (1, pytest.approx(-1), 0)
    assert same["num_decided"] > 0


@pytest.mark.parametrize(
    ("precision", "trials", "expected"),
    [
        ("fp32", {"a": GOOD}, "fp32"),
        ("auto", {"a": GOOD, "b": GOOD | {"speedup": 3.0}, "c": GOOD | {"speedup": 9.0, "same": False}}, "b"),
        ("auto", {"a": GOOD | {"speedup": 0.9}}, "fp32"),
        ("auto", {"a": GOOD | {"shortfalls": ["ranks change"]}}, "fp32"),
        ("auto", {"a": GOOD | {"shortfalls": ["accuracy may be lower"]}}, "a"),
        ("int8", {"a": GOOD | {"speedup": 0.9}}, "a"),
    ],
)
def test_the_fastest_that_all_groups_find_close_enough_is_sealed(
    precision: Any, trials: dict[str, Any], expected: str
) -> None:
    def confirm(name: str) -> dict[str, Any]:
        return trials[name] | {"shortfalls": [] if trials[name].get("same", True) else ["it flips"]}

    assert choose(precision, trials, confirm) == expected


def test_int8_that_changes_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no INT8 graph is close enough to fp32 \(a: it flips; b: ranks change\)"):
        choose(
            "int8",
            {"a": GOOD, "b": GOOD | {"shortfalls": ["ranks change"]}},
            lambda name: GOOD | {"shortfalls": ["it flips"]},
        )


def test_what_all_groups_say_replaces_what_a_few_said(splits: Path) -> None:
    groups = list(read_groups(splits / "calibration.jsonl.gz"))[:40]
    wide = np.random.default_rng(0).normal(size=sum(len(group.responses) for group in groups)).astype(np.float32)
    few = {"num": 2, "flip_rate": 0.5, "rms_to_dynamic": 0.1, "same_alone": True, "shortfalls": ["it flips"]}
    same, moved = (judge(few, wide, each, Trial(groups, [], 0, 1.0)) for each in (wide, -wide))
    assert (same["num"], same["shortfalls"]) == (len(wide), [])
    assert (moved["flip_rate"], "ranks change" in moved["shortfalls"]) == (1, True)


@pytest.mark.slow
def test_a_bundle_in_8_bits_scores_what_was_sealed(
    tiny_folder: Path, tokens: Path, agreeing: Path, tmp_path: Path
) -> None:
    from models.checkpoint import save_model

    readout, config = ReadOut.from_dict(read_json(tokens / "readout.json")), ModelConfig(backbone="tiny")
    save_model(build_model(config, tiny_folder), config, readout, backbone_folder=tiny_folder, target=tmp_path / "m")
    strict = ExportConfig(precision="int8", num_golden=3, num_int8=24, budget=Budget(max_rms_to_dynamic=0.0))
    place = tmp_path / "bundle", tmp_path / "export.json"
    with pytest.raises(ValueError, match="no INT8 graph is close enough"):
        export(strict, tmp_path / "m", agreeing, *place, lineage={})
    assert not place[0].exists()
    settings = replace(strict, budget=Budget(max_rms_to_dynamic=9.0, min_spearman=0.9, max_ece_change=0.1))
    report, bundle = export(settings, tmp_path / "m", agreeing, *place, lineage={}), Bundle.open(place[0])
    Engine(bundle).check_golden()
    assert (bundle.manifest["graph"], bundle.manifest["precision"]) == (report.graph, "int8")
    assert report.graph in ("w8a8", "w8a8_wide")
    assert set(report.int8["variants"]) == {"dynamic", "w8a8", "w8a8_wide"}
    assert (report.int8["same_alone"], report.int8["flip_rate_decided"]) == (True, 0)
