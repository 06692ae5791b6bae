"""Component: look from inside the cluster whether a run would get through."""

from components import component


@component
def doctor(settings: str, remote: str) -> str:
    """Check what the pipeline's steps need; fail where something is missing."""
    from rewardlab.config import settings_config
    from steps.common.cluster_checks import check_cluster
    from steps.common.run_record import recorded
    from steps.resolve import ResolveConfig

    with recorded():
        findings = check_cluster(settings_config(ResolveConfig, settings), remote=remote)
        lines = "\n".join(finding.line for finding in findings)
        print(lines)
        if not all(finding.ok for finding in findings):
            raise ValueError(f"a run would fail here:\n{lines}")
        return lines
