"""The compiled pipeline: golden IR that local runs execute, and its hash."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from rewardlab.config import canonical_json

GOLDEN = Path(__file__).parent / "compiled" / "reward_model.yaml"


def compile_pipeline(target: Path) -> None:
    """Compile the pipeline to IR YAML."""
    from kfp.compiler import Compiler

    from pipelines.pipeline import reward_model

    target.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(reward_model, str(target))


def read_ir(source: Path) -> list[dict[str, Any]]:
    """Return the documents of an IR file with `image` and `sdkVersion` blanked: they do not change what it does."""
    documents = list(yaml.safe_load_all(source.read_text(encoding="utf-8")))
    for document in documents:
        if "sdkVersion" in document:
            document["sdkVersion"] = ""
        for executor in document.get("deploymentSpec", {}).get("executors", {}).values():
            executor["container"]["image"] = ""
    return documents


def ir_digest(source: Path = GOLDEN) -> str:
    """Return the sha256 of an IR file's meaning."""
    return hashlib.sha256(canonical_json(read_ir(source)).encode()).hexdigest()
