"""Write a version of the bundle to the registry, with the evidence and the verdict; the same bundle only once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rewardlab.bundle import Bundle
from rewardlab.config import Config
from rewardlab.files import read_json
from rewardlab.layout import report_file
from steps.registry.client import add_version, by_contents, connect, pipeline_run, set_tags


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisterConfig(Config):
    """Where the version goes, and what is said of its making: data md5, git commit, recipe, IR hash and the like."""

    name: str
    run_id: str
    lineage: dict[str, str]
    data_md5: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisterReport(Config):
    """The version that holds the bundle."""

    version: str
    label: str


def register(config: RegisterConfig, bundle: Path, evidence: Mapping[str, Path]) -> RegisterReport:
    """Register the bundle, rejected or not, and keep the evidence with the pipeline's MLflow run.

    Args:
        config: the registered model's name, the run, and the lineage that becomes tags.
        bundle: the sealed bundle.
        evidence: reports by name; `gate` is needed, the others are kept beside it.
    """
    opened = Bundle.open(bundle)
    decision = read_json(evidence["gate"])
    if decision["bundle"] != opened.digest:
        raise ValueError(f"the gate decided on bundle {decision['bundle'][:12]}, this is {opened.digest[:12]}")
    client = connect()
    run = pipeline_run(client, config.run_id)
    for name, path in evidence.items():
        client.log_dict(run, read_json(path), report_file(name))
    tags = {
        **config.lineage,
        "data_md5": config.data_md5,
        "bundle": opened.digest,
        "contents": opened.contents,
        "test_digest": decision["test_digest"],
        "verdict": decision["verdict"],
        "parity": f"{opened.manifest['parity']['max_error']:.3g}",
        "run_id": config.run_id,
    }
    version = by_contents(client, config.name, opened.contents)
    if version is None:
        version = add_version(client, config.name, bundle, run=run, tags=tags)
    elif decision["verdict"] != "unchanged":
        set_tags(client, config.name, version, tags)
    label = f"{config.name}/{version}"
    known = {"model": label, "data_md5": config.data_md5}
    if decision["verdict"] != "pass":  # a version that passed is decided on by `promote`
        outcome = {"fail": "rejected", "unchanged": "unchanged"}[decision["verdict"]]
        known |= {"reason": decision["reason"], "decision": outcome}
    for key, value in known.items():
        client.set_tag(run, f"rewardlab.{key}", value[:5000])
    return RegisterReport(version=version, label=label)
