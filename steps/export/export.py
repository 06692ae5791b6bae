"""Write and seal the bundle: ONNX, tokenizer, read-out, calibration, golden texts and fingerprints."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from rewardlab.bundle import seal
from rewardlab.config import Config
from rewardlab.engine.session import Session
from rewardlab.files import atomic_path, read_groups, read_json, write_json
from rewardlab.fingerprints import fingerprints
from rewardlab.groups import PreferenceGroup
from rewardlab.layout import (
    CALIBRATION,
    CALIBRATION_GROUPS,
    FINGERPRINTS,
    GOLDEN,
    MODEL,
    MODEL_CONFIG,
    READOUT,
    TOKENIZER,
    TRAIN,
)
from rewardlab.signing import sign
from rewardlab.tokens import TokenTree, TreeTokenizer
from steps.common.progress import progress
from steps.export.calibrate import calibrate
from steps.export.graph import write_half, write_onnx
from steps.export.parity import Parity, Rewards, check_parity, same_alone, torch_outputs
from steps.export.precision import FP16, FP32, Budget, Make, Precision, Trial, choose, judge, try_variants

_NUM_SEEN = 32
"""Training groups whose activations say how large each column becomes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings(Config):
    """What a recipe chooses to seal with the model.

    `precision` is `fp32`, `int8` (refused unless a graph in 8 bits is close enough to fp32), `auto` (the fastest
    that is), or `fp16`, which is for GPUs (refused unless it is close enough where it is exported). Graphs in fewer
    bits are compared on `num_int8` groups, and what is sealed of them has to be close enough on all `num_calibration`:
    half a point of accuracy takes thousands of comparisons to show. `signing_key` is the path of a private key where
    export runs; by default the bundle is not signed.
    """

    licence: str = "unspecified"
    num_golden: int = 8
    num_calibration: int = 2000
    num_int8: int = 64
    precision: Precision = "fp32"
    budget: Budget = Budget()
    signing_key: str = ""

    def __post_init__(self) -> None:
        for name in ("num_golden", "num_calibration", "num_int8"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig(ExportSettings):
    """What is sealed with the model, and the name of the registered model."""

    name: str = "reward-model"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport(Config):
    """The bundle's digest, how well the engines agree, and what fewer bits change where they were asked for.

    `graph` names the sealed one, `not_shared` says why it reads each prompt with each response (nothing where it reads
    a prompt once); `int8` is None for fp32, else what the sealed graph (or `w8a8`) changes, and under `variants` each.
    """

    digest: str
    graph: str
    not_shared: str
    parity: Parity
    int8: dict[str, Any] | None
    size_bytes: int
    temperature: float


def export(
    config: ExportConfig, model: Path, splits: Path, target: Path, findings: Path, *, lineage: Mapping[str, str]
) -> ExportReport:
    """Export the trained model and seal it with its calibration.

    Args:
        config: what is sealed.
        model: a trained model's folder.
        splits: the folder with the calibration and training groups.
        target: the bundle's folder.
        findings: a JSON file for the report, and the time.
        lineage: digests of what the model was made from, for the manifest.

    Raises:
        ValueError: torch and ONNX Runtime disagree, the calibration split cannot calibrate, or INT8 is asked for and
            changes too much.
    """
    from models.checkpoint import load_model

    # 1) Read the texts that calibrate, as token trees.
    groups = list(islice(read_groups(splits / CALIBRATION_GROUPS), config.num_calibration))
    if not groups:
        raise ValueError("the calibration split is empty: give more data or a larger calibration share")
    trained, _, readout = load_model(model)
    reader = TreeTokenizer(model / TOKENIZER, readout)
    trees = [reader.tree(group.prompt, group.responses) for group in groups]
    truncated = float(np.mean([cut for tree in trees for cut in tree.truncated]))
    golden = trees[: config.num_golden]
    with atomic_path(target) as scratch, TemporaryDirectory() as folder:
        scratch.mkdir()
        drafts = Path(folder)
        # 2) Write the graph in fp32; it must give what torch gives.
        not_shared = write_onnx(trained, drafts / f"{FP32}.onnx", has_aspects=bool(readout.aspects))
        outputs = _score(drafts / f"{FP32}.onnx", readout.pad_id, trees)
        parity = check_parity(expected := torch_outputs(trained, golden), outputs[: len(expected)])
        # 3) Choose what is sealed: fp32, or a graph in fewer bits that changes little enough.
        choice = Choice(FP32, outputs[:, 0], {FP32: outputs[:, 0]}, None)
        if config.precision != FP32:
            seen = islice(read_groups(splits / TRAIN), _NUM_SEEN)
            everything = Trial(
                groups,
                trees,
                readout.pad_id,
                calibrate(groups, outputs[:, 0], truncated=truncated).temperature,
                config.budget,
                [reader.tree(group.prompt, group.responses) for group in seen],
            )
            half = partial(write_half, trained, has_aspects=bool(readout.aspects))
            choice = _choose_among(config, everything, outputs[:, 0], drafts, half)
        # 4) Calibrate its rewards, and seal it.
        calibration = calibrate(groups, choice.rewards, truncated=truncated)
        graph = drafts / f"{choice.graph}.onnx"
        if not same_alone(Session(graph, pad_id=readout.pad_id), golden):
            raise ValueError("rewards of the exported graph depend on what else is in the batch: nothing was sealed")
        parity = replace(parity, same_alone=True)
        shutil.copyfile(graph, scratch / MODEL)
        shutil.copyfile(model / TOKENIZER, scratch / TOKENIZER)
        write_json(scratch / READOUT, readout.to_dict())
        write_json(scratch / CALIBRATION, calibration.to_dict())
        _write_golden(scratch / GOLDEN, groups[: config.num_golden], choice)
        np.save(scratch / FINGERPRINTS, fingerprints(read_groups(splits / TRAIN)), allow_pickle=False)
        facts = _facts(config, model, lineage, choice.graph)
        digest = seal(scratch, facts | {"parity": parity.to_dict(), "int8": choice.changes})
        if config.signing_key:
            sign(scratch, Path(config.signing_key))
        size = sum(path.stat().st_size for path in scratch.iterdir())
    report = ExportReport(
        digest=digest,
        graph=choice.graph,
        not_shared=not_shared,
        parity=parity,
        int8=choice.changes,
        size_bytes=size,
        temperature=calibration.temperature,
    )
    write_json(findings, report.to_dict() | {"made": datetime.now(UTC).isoformat(timespec="seconds")})
    return report


@dataclass(frozen=True, slots=True)
class Choice:
    """The graph to seal, and its rewards of all texts.

    `tried` holds what each graph that was tried gives on the first texts, `changes` what fewer bits change.
    """

    graph: str
    rewards: Rewards
    tried: Mapping[str, Rewards]
    changes: dict[str, Any] | None


def _choose_among(config: ExportConfig, everything: Trial, wide: Rewards, drafts: Path, half: Make) -> Choice:
    """Compare graphs in fewer bits on a few groups, and choose one that changes little enough on all of them.

    Args:
        config: the precision that is asked for, and how many groups are a few.
        everything: all texts that calibrate.
        wide: the rewards of fp32.
        drafts: the folder with the graph in fp32, beside which the others are written.
        half: writes the graph in fp16.
    """
    few = slice(max(config.num_int8, config.num_golden))
    trial = replace(everything, groups=everything.groups[few], trees=everything.trees[few])
    more: dict[str, Make] = {FP16: half} if config.precision == FP16 else {}
    variants, tried = try_variants(drafts / f"{FP32}.onnx", trial, more=more)
    scored = {FP32: wide}

    def confirm(name: str) -> dict[str, Any]:
        scored[name] = _score(drafts / f"{name}.onnx", everything.pad_id, everything.trees)[:, 0]
        return judge(variants[name], wide, scored[name], everything)

    graph = choose(config.precision, variants, confirm)
    changes = variants["w8a8" if graph == FP32 else graph] | {"variants": variants}
    return Choice(graph, scored[graph], tried, changes)


def _score(graph: Path, pad_id: int, trees: Sequence[TokenTree]) -> Rewards:
    """Return the outputs of every response."""
    with progress(sum(len(tree.responses) for tree in trees), "calibrate", unit="responses") as bar:
        return Session(graph, pad_id=pad_id).outputs(trees, bar.update)


def _facts(config: ExportConfig, model: Path, lineage: Mapping[str, str], graph: str) -> dict[str, object]:
    return {
        "name": config.name,
        "licence": config.licence,
        "graph": graph,
        "precision": graph if graph in (FP32, FP16) else "int8",
        "fingerprints": "pairs",
        "signed": bool(config.signing_key),
        "lineage": dict(lineage),
        "model": read_json(model / MODEL_CONFIG),
        "versions": {name: version(name) for name in ("torch", "transformers", "onnx", "onnxruntime", "optimum")},
    }


def _write_golden(target: Path, groups: Sequence[PreferenceGroup], choice: Choice) -> None:
    """Write texts with their rewards, and under `graphs` what each graph that does not depend on the batch gives."""
    rows, start = [], 0
    for group in groups:
        part = slice(start, start + len(group.responses))
        start = part.stop
        graphs = {name: rewards[part].tolist() for name, rewards in choice.tried.items() if name != "dynamic"}
        rows.append(
            {
                "prompt": group.to_dict()["prompt"],
                "responses": list(group.responses),
                "rewards": choice.rewards[part].tolist(),
                "graphs": graphs,
            }
        )
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
