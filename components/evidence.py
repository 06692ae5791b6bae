"""The components that measure the bundle: evaluate, audit."""

from kfp import dsl

from components import component


@component
def evaluate(
    settings: str,
    digest: str,
    splits_digest: str,
    champion: str,
    bundle: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
) -> str:
    """Measure the bundle and the champion on the test split; return the digest of the evaluation."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from rewardlab.layout import TEST
    from steps.common.run_record import recorded
    from steps.evaluate import EvaluateConfig, evaluate

    with recorded():
        test, target = Path(splits.path) / TEST, Path(evaluation.path)
        config = settings_config(EvaluateConfig, settings)
        found = evaluate(config, Path(bundle.path), test, target, champion=champion).digest
        evaluation.metadata.update(data_md5=bundle.metadata["data_md5"], digest=found)
        return found


@component
def audit(
    settings: str,
    digest: str,
    splits_digest: str,
    bundle: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    findings: dsl.Output[dsl.Artifact],
) -> str:
    """Run every probe on the bundle; return the digest of the findings."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from rewardlab.layout import TEST
    from steps.audit import AuditConfig, audit
    from steps.common.run_record import recorded

    with recorded():
        test = Path(splits.path) / TEST
        found = audit(settings_config(AuditConfig, settings), Path(bundle.path), test, Path(findings.path)).digest
        findings.metadata.update(data_md5=bundle.metadata["data_md5"], digest=found)
        return found
