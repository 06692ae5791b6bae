"""Register bundles with the gate's report that a run would have written, and make them champion."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewardlab.bundle import CALIBRATION, FINGERPRINTS, GOLDEN, MODEL, READOUT, TOKENIZER, Bundle, Calibration, seal
from rewardlab.files import write_json
from rewardlab.readout import ReadOut
from steps.register import RegisterConfig, register
from steps.registry.versions import promote_version

POLICY = {"sign_off": None, "freshness": None}


def sealed(folder: Path, model: str, *, golden: str = "{}") -> Path:
    """Seal a bundle for the registry, which does not look into its files; nothing can be scored with it."""
    readout = ReadOut(
        kind="encoder",
        template="",
        special_tokens={},
        end=(1,),
        pad_id=0,
        prompt_limit=8,
        response_limit=8,
        pooling="mean",
        tokenizer_digest="x",
    )
    folder.mkdir()
    for name, text in ((MODEL, model), (TOKENIZER, ""), (GOLDEN, golden), (FINGERPRINTS, "")):
        (folder / name).write_text(text, encoding="utf-8")
    write_json(folder / READOUT, readout.to_dict())
    calibration = Calibration(temperature=1.0, mean=0.0, sd=1.0, quantiles={}, num_comparisons=1)
    write_json(folder / CALIBRATION, calibration.to_dict())
    facts = {"name": "m", "lineage": {}, "versions": {}, "parity": {"max_error": 0.0012345}, "fingerprints": "pairs"}
    seal(folder, facts)
    return folder


def report(folder: Path, bundle: Path, verdict: str = "pass", **more: Any) -> Path:
    """Write a gate's report on a bundle; `more` replaces what it says."""
    said: dict[str, Any] = {
        "verdict": verdict,
        "reason": "because",
        "bundle": Bundle.open(bundle).digest,
        "champion": "",
        "test_digest": "t",
        "decided": datetime.now(UTC).isoformat(),
        "fresh_until": None,
        "rules": [
            {"name": "accurate", "evidence": 0.6, "threshold": ">= 0.5", "verdict": verdict, "note": "", "path": ""}
        ],
        "policy": POLICY,
    }
    target = folder / f"gate-{verdict}-{more.get('champion', '').replace('/', '-')}.json"
    write_json(target, said | more)
    return target


def add(gate: Path, bundle: Path, *, name: str = "m", run_id: str = "run") -> str:
    """Register a bundle with a gate's report on it; return the label."""
    config = RegisterConfig(name=name, run_id=run_id, lineage={"recipe": "smoke"}, data_md5="md5")
    told = register(config, bundle, {"gate": gate})
    assert told.label == f"{name}/{told.version}"
    return told.label


def crown(folder: Path, bundle: Path, *, name: str = "m", **more: Any) -> str:
    """Register a bundle that passed and make it champion; return the label."""
    label = add(report(folder, bundle, **more), bundle, name=name, run_id=f"run-{Bundle.open(bundle).digest[:8]}")
    promote_version(name, label.rpartition("/")[2])
    return label
