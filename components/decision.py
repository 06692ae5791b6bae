"""The components that decide what becomes of the bundle: gate, register, promote."""

from kfp import dsl

from components import component


@component
def gate(
    settings: str,
    digest: str,
    champion: str,
    data_time: str,
    evaluation: dsl.Input[dsl.Artifact],
    findings: dsl.Input[dsl.Artifact],
    parity: dsl.Input[dsl.Artifact],
    splits: dsl.Input[dsl.Dataset],
    decision: dsl.Output[dsl.Artifact],
) -> bool:
    """Hold the evidence against the policy."""
    from datetime import UTC, datetime
    from pathlib import Path

    from rewardlab.config import settings_config
    from rewardlab.files import file_digest
    from rewardlab.layout import TEST, report_paths
    from steps.common.run_record import recorded
    from steps.gate import GateConfig, gate, read_evidence

    with recorded():
        reports = report_paths({"evaluation": evaluation.path, "findings": findings.path, "parity": parity.path})
        about = {"bundle": digest, "test_digest": file_digest(Path(splits.path) / TEST), "champion": champion}
        evidence = read_evidence(reports, **about, data_time=data_time, now=datetime.now(UTC))
        decision.metadata.update(data_md5=evaluation.metadata["data_md5"], digest=digest)
        return gate(settings_config(GateConfig, settings), evidence, Path(decision.path)).promote


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


@component
def promote(run_id: str, job_id: str, label: str, champion: str, decision: dsl.Input[dsl.Artifact]) -> str:
    """Move the champion's alias unless it has moved since; return what happened."""
    from pathlib import Path

    from steps.common.run_record import recorded
    from steps.promote import promote

    with recorded():
        return promote(run_id or job_id, label, Path(decision.path), champion).decision
