"""Shared fixtures: tiny random backbones, made once a session, and no network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers and their subprocesses share the cores

import functools
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

MakeBundle = Callable[[int], Path]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for conversions, empty at first."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_folder(cache: Path) -> Path:
    """Return the backbone "tiny": a 2-layer Llama with a byte tokenizer and a ChatML template."""
    from models.backbone import prepare_backbone

    return prepare_backbone("tiny", cache)


@pytest.fixture(scope="session")
def encoder_folder(cache: Path) -> Path:
    """Return the backbone "tiny-encoder": a 2-layer BERT with a byte tokenizer and no template."""
    from models.backbone import prepare_backbone

    return prepare_backbone("tiny-encoder", cache)


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny GPT-2: learned positions, no template, eos as bos, and a pad token of its own."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from models.tiny import byte_tokenizer

    folder = tmp_path_factory.mktemp("gpt2")
    pad, eos = specials = ("<|pad|>", "<|endoftext|>")
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}
    GPT2LMHeadModel(GPT2Config(vocab_size=258, bos_token_id=1, eos_token_id=1, **sizes)).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(specials), pad_token=pad, bos_token=eos, eos_token=eos
    ).save_pretrained(folder)
    return folder


@pytest.fixture(params=["tiny_folder", "encoder_folder", "gpt2_folder"])
def any_folder(request: pytest.FixtureRequest) -> Path:
    """Return each of the tiny backbones in turn."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small synthetic data set, split."""
    from steps.ingest import IngestConfig, ingest
    from steps.make_data import MakeDataConfig, make_data
    from steps.split import SplitConfig, split

    folder = tmp_path_factory.mktemp("splits")
    make_data(MakeDataConfig(size=480), folder / "data")
    ingest(IngestConfig(), folder / "data", folder / "groups")
    split(SplitConfig(train=0.5, validation=0.15, calibration=0.15, test=0.2), folder / "groups", folder / "splits")
    return folder / "splits"


@pytest.fixture(scope="session")
def tokens(splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the small data set, tokenized for the backbone "tiny"."""
    from steps.tokenize import TokenizeConfig, tokenize

    target = tmp_path_factory.mktemp("tokens") / "tokens"
    tokenize(TokenizeConfig(backbone="tiny", prompt_limit=256, response_limit=256), splits, target)
    return target


@pytest.fixture(scope="session")
def toy_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 32 and 16 toy pairs, tokenized for the backbone "tiny"."""
    from tests.toys import tokenized, toy

    groups = [toy(f"thing {number}") for number in range(48)]
    return tokenized(tmp_path_factory.mktemp("toy"), groups[:32], groups[32:])


@pytest.fixture(scope="session")
def make_bundle(splits: Path, tokens: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """Return a function that seals the bundle of an untrained tiny model with a seeded head."""
    from models.checkpoint import save_model
    from models.config import ModelConfig
    from models.reward_model import build_model
    from rewardlab.files import read_json
    from rewardlab.readout import ReadOut
    from steps.export import ExportConfig, export

    def make(seed: int) -> Path:
        folder = tmp_path_factory.mktemp(f"bundle-{seed}")
        config = ModelConfig(backbone="tiny")
        readout = ReadOut.from_dict(read_json(tokens / "readout.json"))
        model = build_model(config, tiny_folder, seed=seed)
        save_model(model, config, readout, backbone_folder=tiny_folder, target=folder / "model")
        export(ExportConfig(), folder / "model", splits, folder / "bundle", folder / "export.json", lineage={})
        return folder / "bundle"

    return make


@pytest.fixture(scope="session")
def tiny_bundle(make_bundle: MakeBundle) -> Path:
    """Return the sealed bundle of a tiny model."""
    return make_bundle(0)


@pytest.fixture(scope="session")
def other_bundle(make_bundle: MakeBundle) -> Path:
    """Return the sealed bundle of another tiny model."""
    return make_bundle(1)


@pytest.fixture
def agreeing(splits: Path, tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return splits whose labels are what the tiny model says, so that it is sure of them."""
    import numpy as np

    from rewardlab.bundle import Bundle
    from rewardlab.engine import Engine
    from rewardlab.files import read_groups, write_groups
    from rewardlab.groups import Comparison

    groups = list(read_groups(splits / "calibration.jsonl.gz"))
    scores = Engine(Bundle.open(tiny_bundle)).score_many([(group.prompt, group.responses) for group in groups])
    labels = [Comparison(better=int(np.argmax(each)), worse=int(np.argmin(each))) for each in scores]
    labelled = [replace(group, comparisons=(label,)) for group, label in zip(groups, labels, strict=True)]
    write_groups(tmp_path / "splits" / "calibration.jsonl.gz", labelled)
    shutil.copyfile(splits / "train.jsonl.gz", tmp_path / "splits" / "train.jsonl.gz")
    return tmp_path / "splits"


@pytest.fixture(scope="session")
def registry_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home of an empty local registry, to be copied: making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("registry")
    (folder / "mlflow.db").write_bytes(empty_registry())
    return folder


@functools.cache
def empty_registry() -> bytes:
    """Return a database with MLflow's tables, made once a process: mutmut forks a session off it for each mutant."""
    import mlflow

    with TemporaryDirectory() as folder:
        made = Path(folder) / "mlflow.db"
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{made}").search_experiments()
        return made.read_bytes()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry_template: Path) -> Path:
    """Return the home of an empty local registry of the test's own."""
    home = tmp_path / "home"
    shutil.copytree(registry_template, home)
    monkeypatch.setenv("REWARDLAB_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return home


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site of docs/."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
