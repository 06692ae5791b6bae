"""Why steps of a run on a cluster failed: tags of the MLflow run that stands for it.

The pods of a step are gone within the hour, and Kubeflow tells the exit handler no reason. So a step that fails leaves
its own, and a later try of it that succeeds takes that back.
"""

import os
import sys
from collections.abc import Mapping

from steps.registry.client import connect, pipeline_run

CLUSTER_RUN, CLUSTER_STEP = "REWARDLAB_CLUSTER_RUN", "REWARDLAB_CLUSTER_STEP"
"""The variables that tell a step on a cluster the id of its run and its name; a profile sets them."""
_TAG = "failed."
_LIMIT = 5000


def cluster_run() -> str:
    """Return the cluster's id of this run, or nothing: then this machine runs it."""
    return os.environ.get(CLUSTER_RUN, "")


def note_failure(reason: str) -> None:
    """Keep why this step failed, if it is a cluster's; where that cannot be kept, it is printed alone."""
    if cluster_run():
        _set_tag(reason)


def forget_failure() -> None:
    """Take back why an earlier try of this step failed, if it is a cluster's."""
    if cluster_run():
        _set_tag(None)


def failures(tags: Mapping[str, str]) -> dict[str, str]:
    """Return why steps failed, by step, from what the tags `rewardlab.*` of the run say."""
    return {key.removeprefix(_TAG): reason for key, reason in tags.items() if key.startswith(_TAG)}


def _set_tag(reason: str | None) -> None:
    from mlflow.exceptions import MlflowException

    key = f"rewardlab.{_TAG}{os.environ[CLUSTER_STEP]}"
    try:
        client = connect()
        run = pipeline_run(client, cluster_run())
        if reason is not None:
            client.set_tag(run, key, reason[:_LIMIT])
        elif key in client.get_run(run).data.tags:
            client.delete_tag(run, key)
    except (ValueError, OSError, MlflowException) as error:  # the step's own end counts, not what is noted of it
        print(f"how this step ended is not noted in the registry: {error}", file=sys.stderr)
