"""Component: the exit handler, which writes how a run ended however it ended."""

from kfp import dsl

from components import component


@component
def report(settings: str, run_folder: str, status: dsl.PipelineTaskFinalStatus) -> str:
    """Write summary and page of the run; return the decision."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.report import ReportConfig, report

    return report(settings_config(ReportConfig, settings), Path(run_folder), state=status.state).decision
