"""Component: write the candidate to the registry, whatever the verdict."""

from kfp import dsl

from components import component


@component
def register(
    settings: str,
    run_id: str,
    job_id: str,
    data_md5: str,
    bundle: dsl.Input[dsl.Model],
    model: dsl.Input[dsl.Model],
    accepted: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Dataset],
    evaluation: dsl.Input[dsl.Artifact],
    findings: dsl.Input[dsl.Artifact],
    parity: dsl.Input[dsl.Artifact],
    decision: dsl.Input[dsl.Artifact],
) -> str:
    """Register the bundle with its evidence, under the run's id or else the cluster's; return NAME/VERSION."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.register import RegisterConfig, register

    files = {"evaluation": evaluation.path, "audit": findings.path, "export": parity.path, "gate": decision.path}
    files |= {"validation": f"{accepted.path}/validation.json", "split": f"{splits.path}/split.json"}
    evidence = {name: Path(path) for name, path in files.items()} | {"training": Path(model.path) / "training.json"}
    config = settings_config(RegisterConfig, settings, data_md5=data_md5, run_id=run_id or job_id)
    return register(config, Path(bundle.path), evidence).label
