"""Component: may the candidate become champion?"""

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
