"""Component: make the candidate champion."""

from kfp import dsl

from components import component


@component
def promote(run_id: str, job_id: str, label: str, champion: str, decision: dsl.Input[dsl.Artifact]) -> str:
    """Move the champion's alias unless it has moved since; return what happened."""
    from pathlib import Path

    from steps.common.run_record import recorded
    from steps.promote import promote

    with recorded():
        return promote(run_id or job_id, label, Path(decision.path), champion).decision
