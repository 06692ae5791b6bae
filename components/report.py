"""Component: the exit handler, which writes how a run ended however it ended."""

from kfp import dsl

from components import component


@component
def report(settings: str, run_id: str, job_id: str, run_folder: str, status: dsl.PipelineTaskFinalStatus) -> str:
    """End what the run has left, write its summary and page, at home where no folder is given; return the decision."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from rewardlab.home import home
    from steps.common.run_record import recorded
    from steps.report import ReportConfig, report
    from steps.train.launch.nodes import delete_jobs_of_run

    with recorded():
        delete_jobs_of_run()
        config = settings_config(ReportConfig, settings, run_id=run_id or job_id)
        folder = Path(run_folder) if run_folder else home() / "runs" / config.run_id
        return report(config, folder, state=status.state).decision
