"""Component: probe the bundle."""

from kfp import dsl

from components import component


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
