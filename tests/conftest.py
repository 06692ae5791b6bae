"""Shared fixtures: tiny real objects, made once a session for all workers of pytest-xdist, and no network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers and their subprocesses share the cores

import functools
import gc
import inspect
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock
from httpx._transports import default as _transports
from xdist.scheduler import LoadScopeScheduling

from tests import tiny

SHARED = ("tests/pipelines/test_run.py", "tests/steps/test_train_processes.py")
"""Files whose tests share what takes a minute to make, and so go to one worker."""


class ScopedScheduling(LoadScopeScheduling):
    """Give the tests of some files to one worker, and every other test to whoever is free."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in SHARED else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling | None:
    """Schedule the slow tests, which `make test-slow` runs with `--dist loadscope`."""
    return ScopedScheduling(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_finish() -> None:
    """Take what the test modules import out of the garbage collector's rounds: statsmodels asks for whole ones."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Save what coverage has measured in this worker: pytest-xdist ends workers that take long to leave."""
    import coverage

    if "PYTEST_XDIST_WORKER" in os.environ and (measured := coverage.Coverage.current()):
        measured.save()


Once = Callable[[str, Callable[[Path], object]], Path]
MakeBundle = Callable[[int], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a function that lets the first worker that asks make a folder, by a name, and returns it to all."""
    own = tmp_path_factory.getbasetemp()
    session = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, scratch = session / f"once-{name}", own / f"scratch-{name}"
        with FileLock(session / f"once-{name}.lock"):
            if not folder.exists():
                scratch.mkdir()
                make(scratch)
                scratch.rename(folder)
        return folder

    return once


@pytest.fixture(scope="session", autouse=True)
def short_stacks() -> Iterator[None]:
    """Give kfp stacks of names alone: it takes one at each setting of a task, and looks through all modules for it."""

    def stack() -> list[inspect.FrameInfo]:
        frames = traceback.walk_stack(sys._getframe(1))
        return [
            inspect.FrameInfo(frame, frame.f_code.co_filename, line, frame.f_code.co_name, None, None)
            for frame, line in frames
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", stack)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_trust() -> Iterator[None]:
    """Read the trusted certificates once for all of httpx's clients: it takes 50 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_transports, "create_ssl_context", functools.cache(_transports.create_ssl_context))
        yield


@pytest.fixture(scope="session")
def cache(once: Once) -> Path:
    """Return a folder for conversions, empty at first."""
    return once("cache", lambda folder: None)


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
def splits(once: Once) -> Path:
    """Return a small synthetic data set, split."""
    return once("splits", tiny.make_splits) / "splits"


@pytest.fixture(scope="session")
def tokens(splits: Path, once: Once) -> Path:
    """Return the small data set, tokenized for the backbone "tiny"."""
    return once("tokens", lambda folder: tiny.make_tokens(splits, folder)) / "tokens"


@pytest.fixture(scope="session")
def toy_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 32 and 16 toy pairs, tokenized for the backbone "tiny"."""
    from tests.toys import tokenized, toy

    groups = [toy(f"thing {number}") for number in range(48)]
    return tokenized(tmp_path_factory.mktemp("toy"), groups[:32], groups[32:])


@pytest.fixture(scope="session")
def make_bundle(splits: Path, tokens: Path, tiny_folder: Path, once: Once) -> MakeBundle:
    """Return a function that seals the bundle of an untrained tiny model with a seeded head."""

    def make(seed: int, folder: Path) -> None:
        tiny.make_bundle(splits, tokens, tiny_folder, folder, seed=seed)

    return lambda seed: once(f"bundle-{seed}", functools.partial(make, seed)) / "bundle"


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
def registry_template(once: Once) -> Path:
    """Return the home of an empty local registry, to be copied: making its tables takes seconds."""
    return once("registry", lambda folder: (folder / "mlflow.db").write_bytes(empty_registry()))


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


@pytest.fixture
def versions(tmp_path: Path, registry: Path, tiny_bundle: Path, other_bundle: Path) -> None:
    """Register two versions of `reward-model` that passed the gate; the first is champion."""
    from tests.gated import add, crown, report

    crown(tmp_path, tiny_bundle, name="reward-model", reason="all 11 rules hold")
    second = report(tmp_path, other_bundle, champion="reward-model/1", reason="all 11 rules hold")
    add(second, other_bundle, name="reward-model")


@pytest.fixture(scope="session")
def site(once: Once) -> Path:
    """Return the folder of the site of docs/."""

    def make(folder: Path) -> None:
        build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
        done = subprocess.run(build, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return once("site", make)
