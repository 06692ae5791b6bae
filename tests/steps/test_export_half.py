"""fp16 and devices: what a GPU is given, run on the CPU, and no device that is not there."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from models.config import ModelConfig
from models.reward_model import build_model
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.engine.session import Session
from rewardlab.files import read_json
from rewardlab.readout import ReadOut
from serving.__main__ import main
from steps.export import ExportConfig, export
from steps.export.graph import write_half, write_onnx
from steps.export.parity import same_alone
from steps.export.precision import choose
from tests.steps.test_export import trees

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.mark.parametrize("name", ["tiny_folder", "gpt2_folder", "encoder_folder"])
def test_fp16_is_near_fp32_and_keeps_keys_and_values_in_half_the_bytes(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = build_model(ModelConfig(backbone=name), request.getfixturevalue(name)).eval()
    write_onnx(model, tmp_path / "fp32.onnx")
    write_half(model, tmp_path / "fp16.onnx")
    wide, narrow = (Session(tmp_path / f"{each}.onnx", pad_id=0, threads=1) for each in ("fp32", "fp16"))
    exact, found = wide.run(trees()), narrow.run(trees())
    assert 0 < np.abs(found - exact).max() < 0.02 * max(1.0, exact.std())
    assert narrow.prompts.num_bytes * 2 == wide.prompts.num_bytes
    assert same_alone(narrow, trees())
    assert next(model.backbone.parameters()).dtype.itemsize == 4


@pytest.mark.slow
def test_a_bundle_in_fp16_scores_what_was_sealed(
    tiny_folder: Path, tokens: Path, agreeing: Path, tmp_path: Path
) -> None:
    from models.checkpoint import save_model

    readout, config = ReadOut.from_dict(read_json(tokens / "readout.json")), ModelConfig(backbone="tiny")
    save_model(build_model(config, tiny_folder), config, readout, backbone_folder=tiny_folder, target=tmp_path / "m")
    settings = ExportConfig(precision="fp16", num_golden=3, num_int8=24)
    report = export(settings, tmp_path / "m", agreeing, tmp_path / "bundle", tmp_path / "export.json", lineage={})
    bundle = Bundle.open(tmp_path / "bundle")
    Engine(bundle).check_golden()
    assert (report.graph, bundle.manifest["graph"], bundle.manifest["precision"]) == ("fp16", "fp16", "fp16")
    assert report.int8["size_ratio"] < 0.7


def test_fp16_is_sealed_where_it_is_asked_for_alone() -> None:
    near, far = {"shortfalls": [], "speedup": 0.5}, {"shortfalls": ["ranks change"], "speedup": 9.0}
    assert choose("fp16", {"w8a8": far, "fp16": near}, lambda name: near) == "fp16"
    assert choose("auto", {"w8a8": far, "fp16": near}, lambda name: near) == "fp32"
    with pytest.raises(ValueError, match=r"no FP16 graph is close enough to fp32 \(fp16: ranks change\)"):
        choose("fp16", {"w8a8": near, "fp16": far}, lambda name: far)


@pytest.mark.skipif(HAS_CUDA, reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused_and_nothing_else_computes_instead(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"'cuda' is not usable here: ONNX Runtime offers .*CPUExecutionProvider"):
        Engine(Bundle.open(tiny_bundle), device="cuda")
    assert main(["--bundle", str(tiny_bundle), "--port", "0", "--device", "cuda"]) == 1
    assert "'cuda' is not usable here" in capsys.readouterr().err


@pytest.mark.skipif(not HAS_CUDA, reason="there is no GPU")
def test_a_gpu_scores_like_the_cpu(tiny_bundle: Path) -> None:
    texts = trees()
    cpu, gpu = (Session(tiny_bundle / "model.onnx", pad_id=0, device=device) for device in ("cpu", "cuda"))
    assert np.abs(cpu.run(texts) - gpu.run(texts)).max() < 1e-4
