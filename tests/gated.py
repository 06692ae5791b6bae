"""Register bundles with the gate's report that a run would have written, and make them champion."""

from pathlib import Path
from typing import Any

from pipelines.registry import promote_version
from rewardlab.bundle import Bundle
from rewardlab.files import write_json
from steps.register import RegisterConfig, register


def report(folder: Path, bundle: Path, verdict: str = "pass", **more: Any) -> Path:
    """Write a gate's report on a bundle; `more` replaces what it says."""
    said: dict[str, Any] = {
        "verdict": verdict,
        "reason": "because",
        "bundle": Bundle.open(bundle).digest,
        "champion": "",
        "test_digest": "t",
        "rules": [],
        "policy": {"sign_off": None},
    }
    target = folder / f"gate-{verdict}-{more.get('champion', '').replace('/', '-')}.json"
    write_json(target, said | more)
    return target


def add(gate: Path, bundle: Path, *, name: str = "m", run_id: str = "run") -> str:
    """Register a bundle with a gate's report on it; return the label."""
    config = RegisterConfig(name=name, run_id=run_id, lineage={"recipe": "smoke"}, data_md5="md5")
    return register(config, bundle, {"gate": gate}).label


def crown(folder: Path, bundle: Path, *, name: str = "m", **more: Any) -> str:
    """Register a bundle that passed and make it champion; return the label."""
    label = add(report(folder, bundle, **more), bundle, name=name, run_id=f"run-{Bundle.open(bundle).digest[:8]}")
    promote_version(name, label.rpartition("/")[2])
    return label
