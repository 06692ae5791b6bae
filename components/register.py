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
    from rewardlab.layout import report_paths
    from steps.common.run_record import recorded
    from steps.register import RegisterConfig, register

    with recorded():
        artifacts = {"evaluation": evaluation.path, "findings": findings.path, "parity": parity.path}
        artifacts |= {"decision": decision.path, "accepted": accepted.path, "splits": splits.path, "model": model.path}
        config = settings_config(RegisterConfig, settings, data_md5=data_md5, run_id=run_id or job_id)
        return register(config, Path(bundle.path), report_paths(artifacts)).label
