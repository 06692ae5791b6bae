"""Export: the graph scores like torch for every pooling and head, and nothing wrong is sealed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.config import Head, ModelConfig
from models.reward_model import RewardModel, build_model
from rewardlab.bundle import Bundle
from rewardlab.engine.session import Session
from rewardlab.files import read_groups, read_json
from rewardlab.readout import Pooling, ReadOut
from rewardlab.tokens import TokenTree
from steps.export import ExportConfig, ExportReport, export
from steps.export.graph import write_onnx
from steps.export.parity import Rewards, check_parity, same_alone, torch_outputs
from tests.rewardlab.test_signing import keys
from tests.tiny import make_bundle


def grid() -> Iterator[tuple[str, Pooling, Head]]:
    poolings: dict[str, tuple[Pooling, ...]] = {
        "tiny_folder": ("last_token", "mean", "attention"),
        "encoder_folder": ("last_token", "mean", "attention", "cls"),
    }
    heads: tuple[Head, ...] = ("linear", "mlp")
    return ((name, pooling, head) for name in poolings for pooling in poolings[name] for head in heads)


def trees(*, prompts: Sequence[int] = (0, 1, 8, 33, 100), num: int = 4) -> list[TokenTree]:
    """Return token trees over prompts of these lengths."""
    rng = np.random.default_rng(0)
    return [leaves(ids(rng, size), [ids(rng, length) for length in rng.integers(1, 80, num)]) for size in prompts]


def ids(rng: np.random.Generator, size: int) -> tuple[int, ...]:
    return tuple(rng.integers(3, 250, size).tolist())


def leaves(prompt: tuple[int, ...], responses: Sequence[tuple[int, ...]]) -> TokenTree:
    return TokenTree(prompt, tuple(responses), (False,) * len(responses))


@pytest.mark.parametrize(("backbone", "pooling", "head"), list(grid()))
def test_every_pooling_and_head_matches_torch_and_ignores_its_batch(
    backbone: str, pooling: Pooling, head: Head, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    config = ModelConfig(backbone=backbone, pooling=pooling, head=head)
    model = build_model(config, request.getfixturevalue(backbone)).eval()
    write_onnx(model, tmp_path / "model.onnx")
    texts, session = trees(), Session(tmp_path / "model.onnx", pad_id=0, threads=1)
    together = session.run(texts)
    assert session.shares_prompts == (backbone == "tiny_folder")
    assert check_parity(torch_outputs(model, texts)[:, 0], together).share_of_tolerance <= 1
    assert len(set(together.tolist())) == len(together)
    assert same_alone(session, texts)
    backwards = [leaves(tree.prompt, tree.responses[::-1]) for tree in texts[::-1]]
    other = Session(tmp_path / "model.onnx", pad_id=9, cache_bytes=0, threads=2)
    assert together.tolist() == other.run(backwards)[::-1].tolist()


def test_the_pad_id_does_not_matter(tiny_bundle: Path) -> None:
    texts = trees()
    zero, other = (Session(tiny_bundle / "model.onnx", pad_id=pad).run(texts) for pad in (0, 77))
    assert zero.tolist() == other.tolist()


def test_a_graph_of_other_weights_is_refused(tiny_folder: Path, tiny_bundle: Path) -> None:
    model, texts = build_model(ModelConfig(backbone="tiny"), tiny_folder), trees()
    found = Session(tiny_bundle / "model.onnx", pad_id=0).run(texts)
    assert check_parity(torch_outputs(model, texts)[:, 0], found).num == 20
    with torch.no_grad():
        model.head.score.weight[0, 0] += 1e-3
    with pytest.raises(ValueError, match=r"torch and ONNX Runtime disagree by .*nothing was sealed"):
        check_parity(torch_outputs(model, texts)[:, 0], found)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rewards_that_are_not_finite_are_refused(bad: float) -> None:
    good, odd = np.zeros(3, dtype=np.float32), np.array([0, bad, 0], dtype=np.float32)
    for pair in ((good, odd), (odd, good), (odd, odd)):
        with pytest.raises(ValueError, match="not finite"):
            check_parity(*pair)


def test_the_tolerance_grows_with_the_spread_only_above_1() -> None:
    def tolerance(rewards: Rewards) -> float:
        return float(check_parity(rewards, rewards).tolerance)

    assert tolerance(np.array([0.0, 0.1], dtype=np.float32)) == 1e-5
    assert tolerance(np.array([-20.0, 20.0], dtype=np.float32)) == pytest.approx(2e-4)


def sealed(
    model: RewardModel,
    folder: Path,
    *,
    tokens: Path,
    splits: Path,
    tiny_folder: Path,
    config: ExportConfig | None = None,
) -> ExportReport:
    from models.checkpoint import save_model

    readout = ReadOut.from_dict(read_json(tokens / "readout.json"))
    save_model(model, ModelConfig(backbone="tiny"), readout, backbone_folder=tiny_folder, target=folder / "model")
    place = folder / "model", splits, folder / "bundle", folder / "export.json"
    return export(config or ExportConfig(name="n", num_golden=3), *place, lineage={"a": "b"})


@pytest.fixture
def places(tokens: Path, splits: Path, tiny_folder: Path) -> dict[str, Path]:
    return {"tokens": tokens, "splits": splits, "tiny_folder": tiny_folder}


def test_a_model_of_nan_is_not_sealed(places: dict[str, Path], tmp_path: Path) -> None:
    model = build_model(ModelConfig(backbone="tiny"), places["tiny_folder"])
    with torch.no_grad():
        model.head.score.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite: train it again, nothing was sealed"):
        sealed(model, tmp_path, **places)
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_is_signed_where_export_has_a_key(places: dict[str, Path], tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    model = build_model(ModelConfig(backbone="tiny"), places["tiny_folder"])
    config = ExportConfig(name="n", num_golden=3, signing_key=str(private))
    report = sealed(model, tmp_path, **places, config=config)
    bundle = Bundle.open(tmp_path / "bundle", verify_key=public)
    assert (bundle.digest, bundle.manifest["signed"]) == (report.digest, True)
    with pytest.raises(ValueError, match="cannot be signed with"):
        sealed(model, tmp_path / "again", **places, config=replace(config, signing_key=str(public)))
    assert not (tmp_path / "again" / "bundle").exists()


def test_the_report_and_the_manifest_agree(places: dict[str, Path], tmp_path: Path) -> None:
    model = build_model(ModelConfig(backbone="tiny"), places["tiny_folder"])
    report = sealed(model, tmp_path, **places)
    bundle = Bundle.open(tmp_path / "bundle")
    written = read_json(tmp_path / "export.json")
    assert datetime.now(UTC) - datetime.fromisoformat(written.pop("made")) < timedelta(hours=1)
    assert written == report.to_dict()
    facts = (bundle.digest, bundle.manifest["parity"], bundle.manifest["int8"], bundle.calibration.temperature)
    assert facts == (report.digest, report.parity.to_dict(), report.int8, report.temperature)
    assert (bundle.manifest["lineage"], bundle.label) == ({"a": "b"}, f"n/{report.digest[:12]}")
    assert (report.parity.same_alone, report.int8, report.graph) == (True, None, "fp32")
    assert report.not_shared == ""
    assert len((tmp_path / "bundle" / "golden.jsonl").read_text().splitlines()) == 3


def test_the_calibration_is_of_the_calibration_split(tiny_bundle: Path, splits: Path) -> None:
    from rewardlab.engine import Engine
    from rewardlab.metrics import labelled_pairs, negative_log_likelihood

    bundle, groups = Bundle.open(tiny_bundle), list(read_groups(splits / "calibration.jsonl.gz"))
    scores = Engine(bundle).score_many([(group.prompt, group.responses) for group in groups])
    flat, known = np.concatenate([each.rewards for each in scores]), bundle.calibration
    assert (known.mean, known.sd) == pytest.approx((flat.mean(), flat.std()))
    assert known.quantiles["0.5"] == pytest.approx(np.median(flat))
    cut = [each for score in scores for each in score.truncated]
    assert (known.num_rewards, known.truncated) == (len(flat), np.mean(cut))
    sizes = Counter(group.subset for group in groups for _ in group.responses)
    assert {name: each.num for name, each in known.subsets.items()} == {
        name: num for name, num in sizes.items() if num >= 20
    }
    pairs = labelled_pairs(groups, [each.rewards for each in scores])
    best = negative_log_likelihood(pairs, known.temperature)
    assert all(best <= negative_log_likelihood(pairs, known.temperature / factor) for factor in (1.1, 2, 10, 100))


def test_two_exports_of_one_model_are_one_bundle(places: dict[str, Path], tiny_bundle: Path, tmp_path: Path) -> None:
    again = make_bundle(places["splits"], places["tokens"], places["tiny_folder"], tmp_path, seed=0)
    assert not again.samefile(tiny_bundle)
    assert Bundle.open(again).digest == Bundle.open(tiny_bundle).digest
    for name in ("model.onnx", "golden.jsonl", "fingerprints.npy", "calibration.json"):
        assert (again / name).read_bytes() == (tiny_bundle / name).read_bytes()


def test_an_empty_calibration_split_is_refused(places: dict[str, Path], tmp_path: Path) -> None:
    from rewardlab.files import write_groups

    write_groups(tmp_path / "splits" / "calibration.jsonl.gz", [])
    model = build_model(ModelConfig(backbone="tiny"), places["tiny_folder"])
    with pytest.raises(ValueError, match="the calibration split is empty"):
        sealed(model, tmp_path, **{**places, "splits": tmp_path / "splits"})


@pytest.mark.parametrize("name", ["num_golden", "num_calibration", "num_int8"])
def test_a_number_below_1_is_refused(name: str) -> None:
    wrong: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} is at least 1"):
        ExportConfig(**wrong)
