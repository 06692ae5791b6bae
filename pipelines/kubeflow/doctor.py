"""A run of one step, which says whether the pipeline's steps would reach what they need on a cluster."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.profiles import Profile, place

EXPERIMENT = "rewardlab-doctor"
_WAIT_SECONDS = 1800


def compile_doctor(target: Path, profile: Profile) -> None:
    """Compile the one step with what a profile gives to the pipeline's steps."""
    from kfp import dsl
    from kfp.compiler import Compiler

    from components.doctor import doctor

    def one_step(settings: str, remote: str) -> None:
        task = doctor(settings=settings, remote=remote).set_caching_options(False)
        place(profile, {"doctor": task})

    about = {"name": EXPERIMENT, "description": "Whether the steps of reward-model reach what they need."}
    Compiler().compile(dsl.pipeline(**about)(one_step), str(target))


def examine(client: Any, package: Path, arguments: Mapping[str, str]) -> tuple[str, bool]:
    """Run the compiled step and wait for it; return the run's id, and whether all was well.

    Raises:
        ValueError: it does not end within half an hour, as where no node has room for it.
    """
    experiment = client.create_experiment(EXPERIMENT)
    made = client.create_run_from_pipeline_package(
        str(package), dict(arguments), run_name=EXPERIMENT, experiment_id=experiment.experiment_id, enable_caching=False
    )
    try:
        ended = client.wait_for_run_completion(made.run_id, _WAIT_SECONDS)
    except TimeoutError as error:
        raise ValueError(f"run {made.run_id} has not ended after {_WAIT_SECONDS} s: does its pod start?") from error
    return made.run_id, ended.state == "SUCCEEDED"
