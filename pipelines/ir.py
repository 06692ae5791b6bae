"""The compiled pipeline: golden IR that local runs execute, and its hash."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from pipelines.profiles import Profile, local
from rewardlab.config import canonical_json

GOLDEN = Path(__file__).parent / "compiled" / "reward_model.yaml"


def compile_pipeline(target: Path, profile: Profile | None = None) -> None:
    """Compile the pipeline to IR YAML, for this machine or with what a profile asks of a cluster."""
    from kfp.compiler import Compiler

    from pipelines.pipeline import pipeline

    target.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(pipeline(profile or local()), str(target))


def compile_objects(target: Path, profile: Profile, *, version: str, namespace: str) -> None:
    """Compile the pipeline to the Kubernetes objects `Pipeline` and `PipelineVersion`, for clusters kept in git."""
    from kfp.compiler import Compiler
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    from pipelines.pipeline import NAME, pipeline

    options = KubernetesManifestOptions(
        pipeline_name=NAME,
        pipeline_version_name=f"{NAME}-{version}",
        namespace=namespace,
        include_pipeline_manifest=True,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(
        pipeline(profile),
        str(target),
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=options,
    )


def read_ir(source: Path) -> list[dict[str, Any]]:
    """Return the documents of an IR file with `image` and `sdkVersion` blanked: they do not change what it does."""
    documents = _documents(source, image="")
    for document in documents:
        if "sdkVersion" in document:
            document["sdkVersion"] = ""
    return documents


def ir_in(image: str, source: Path = GOLDEN) -> str:
    """Return an IR file's text with its steps in an image; nothing else is changed."""
    return yaml.safe_dump_all(_documents(source, image=image), sort_keys=False)


def ir_digest(source: Path = GOLDEN) -> str:
    """Return the sha256 of an IR file's meaning."""
    return hashlib.sha256(canonical_json(read_ir(source)).encode()).hexdigest()


def _documents(source: Path, *, image: str) -> list[dict[str, Any]]:
    documents = list(yaml.safe_load_all(source.read_text(encoding="utf-8")))
    for document in documents:
        for executor in document.get("deploymentSpec", {}).get("executors", {}).values():
            executor["container"]["image"] = image
    return documents
