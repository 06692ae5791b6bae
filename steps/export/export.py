"""Write and seal the bundle: ONNX, tokenizer, read-out, calibration, golden texts and fingerprints."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rewardlab.bundle import (
    CALIBRATION,
    FINGERPRINTS,
    GOLDEN,
    MODEL,
    READOUT,
    TOKENIZER,
    Calibration,
    seal,
)
from rewardlab.config import Config
from rewardlab.drift import Reference
from rewardlab.engine.session import Session
from rewardlab.files import atomic_path, read_groups, read_json, write_json
from rewardlab.fingerprints import fingerprints
from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import labelled_pairs, scored_pairs
from rewardlab.tokens import TreeTokenizer
from steps.export.graph import write_onnx
from steps.export.parity import check_alone, check_parity, measure_int8, torch_outputs
from steps.progress import progress
from steps.statistics import by_subset, fit_temperature, length_correlation

_MIN_REFERENCE = 20
"""Of fewer rewards a subset has no distribution that drift could be measured from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig(Config):
    """What is sealed with the model."""

    name: str = "reward-model"
    licence: str = "unspecified"
    num_golden: int = 16
    num_calibration: int = 2000
    num_int8: int = 64

    def __post_init__(self) -> None:
        for name in ("num_golden", "num_calibration", "num_int8"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport(Config):
    """The bundle's digest and how well the engines agree."""

    digest: str
    parity: dict[str, Any]
    int8: dict[str, Any]
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
        ValueError: torch and ONNX Runtime disagree, or the calibration split cannot calibrate.
    """
    from models.checkpoint import load_model

    groups = list(islice(read_groups(splits / "calibration.jsonl.gz"), config.num_calibration))
    if not groups:
        raise ValueError("the calibration split is empty: give more data or a larger calibration share")
    trained, _, readout = load_model(model)
    reader = TreeTokenizer(model / TOKENIZER, readout)
    trees = [reader.tree(group.prompt, group.responses) for group in groups]
    ends = np.cumsum([len(tree.responses) for tree in trees])
    truncated = float(np.mean([cut for tree in trees for cut in tree.truncated]))
    with atomic_path(target) as scratch:
        scratch.mkdir()
        write_onnx(trained, scratch / MODEL, has_aspects=bool(readout.aspects))
        shutil.copyfile(model / TOKENIZER, scratch / TOKENIZER)
        write_json(scratch / READOUT, readout.to_dict())
        session = Session(scratch / MODEL, pad_id=readout.pad_id)
        with progress(int(ends[-1]), "calibrate", unit="responses") as bar:
            outputs = session.outputs(trees, bar.update)
        golden = trees[: config.num_golden]
        parity = check_parity(torch_outputs(trained, golden), outputs[: ends[len(golden) - 1]])
        parity["same_alone"] = check_alone(session, golden)
        per_group = [piece.tolist() for piece in np.split(outputs[:, 0], ends[:-1])]
        calibration = _write_calibration(scratch / CALIBRATION, groups, per_group, truncated)
        _write_golden(scratch / GOLDEN, groups[: config.num_golden], per_group)
        np.save(scratch / FINGERPRINTS, fingerprints(read_groups(splits / "train.jsonl.gz")), allow_pickle=False)
        int8 = measure_int8(scratch / MODEL, readout.pad_id, groups[: config.num_int8], trees[: config.num_int8])
        facts = {
            "name": config.name,
            "licence": config.licence,
            "precision": "fp32",
            "fingerprints": "pairs",
            "lineage": dict(lineage),
            "model": read_json(model / "reward_model.json"),
            "parity": parity,
            "int8": int8,
            "versions": {name: version(name) for name in ("torch", "transformers", "onnx", "onnxruntime", "optimum")},
        }
        digest = seal(scratch, facts)
        size = sum(path.stat().st_size for path in scratch.iterdir())
    report = ExportReport(digest=digest, parity=parity, int8=int8, size_bytes=size, temperature=calibration.temperature)
    write_json(findings, report.to_dict() | {"made": datetime.now(UTC).isoformat(timespec="seconds")})
    return report


def _write_calibration(
    target: Path, groups: Sequence[PreferenceGroup], per_group: Sequence[Sequence[float]], truncated: float
) -> Calibration:
    """Calibrate on the comparisons, or where there are ratings alone on the pairs that the first aspect orders."""
    pairs = labelled_pairs(groups, per_group)
    if not len(pairs.better):
        aspect = min((aspect for group in groups for aspect in group.scores), default="")
        pairs = scored_pairs(groups, per_group, aspect)
    reference = Reference.of([reward for given in per_group for reward in given])
    lengths = length_correlation(groups, per_group)
    calibration = Calibration(
        temperature=fit_temperature(pairs),
        mean=reference.mean,
        sd=reference.sd,
        quantiles=reference.quantiles,
        num_comparisons=len(pairs.better),
        num_rewards=reference.num,
        length_correlation=lengths.value if lengths else None,
        truncated=truncated,
        subsets={
            name: Reference.of(found)
            for name, found in by_subset(groups, per_group).items()
            if name and len(found) >= _MIN_REFERENCE
        },
    )
    write_json(target, calibration.to_dict())
    return calibration


def _write_golden(target: Path, groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]]) -> None:
    rows = (
        {"prompt": group.to_dict()["prompt"], "responses": list(group.responses), "rewards": given}
        for group, given in zip(groups, rewards, strict=False)
    )
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
