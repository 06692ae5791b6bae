"""Component: may the candidate become champion?"""

from kfp import dsl

from components import component


@component
def gate(
    settings: str,
    digest: str,
    digests: str,
    champion: str,
    evaluation: dsl.Input[dsl.Artifact],
    findings: dsl.Input[dsl.Artifact],
    parity: dsl.Input[dsl.Artifact],
    splits: dsl.Input[dsl.Dataset],
    decision: dsl.Output[dsl.Artifact],
) -> bool:
    """Hold the evidence against the policy; `digests` names the evidence for the cache."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from rewardlab.files import file_digest
    from steps.gate import GateConfig, gate, read_evidence

    reports = {"evaluation": Path(evaluation.path), "audit": Path(findings.path), "export": Path(parity.path)}
    test_digest = file_digest(Path(splits.path) / "test.jsonl.gz")
    evidence = read_evidence(reports, bundle=digest, test_digest=test_digest, champion=champion)
    return gate(settings_config(GateConfig, settings), evidence, Path(decision.path)).promote
