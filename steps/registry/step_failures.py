"""Why steps of a run on a cluster failed: tags of the MLflow run that stands for it.

The pods of a step are gone within the hour, and Kubeflow tells the exit handler no reason. So a step that fails leaves
its own, and a later try of it that succeeds takes that back.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from steps.registry.client import connect, find_run, pipeline_run

CLUSTER_RUN, CLUSTER_STEP = "REWARDLAB_CLUSTER_RUN", "REWARDLAB_CLUSTER_STEP"
"""The variables that tell a step on a cluster the id of its run and its name; a profile sets them."""
_FAILED = "failed."
_LIMIT = 5000


def cluster_run() -> str:
    """Return the cluster's id of this run, or nothing: then this machine runs it."""
    return os.environ.get(CLUSTER_RUN, "")


def note_failure(reason: str) -> None:
    """Keep why this step failed, if it is a cluster's; where that cannot be kept, it is printed alone."""
    if cluster_run():
        with _best_effort():
            client = connect()
            client.set_tag(pipeline_run(client, cluster_run()), _tag(), reason[:_LIMIT])


def forget_failure() -> None:
    """Take back why an earlier try of this step failed, if it is a cluster's."""
    if cluster_run():
        with _best_effort():
            client = connect()
            run = find_run(client, cluster_run())
            if run and _tag() in client.get_run(run).data.tags:
                client.delete_tag(run, _tag())


def failures(notes: Mapping[str, str]) -> dict[str, str]:
    """Return why steps failed, by step, from what the tags `rewardlab.*` of the run say."""
    return {key.removeprefix(_FAILED): reason for key, reason in notes.items() if key.startswith(_FAILED)}


def _tag() -> str:
    return f"rewardlab.{_FAILED}{os.environ[CLUSTER_STEP]}"


@contextmanager
def _best_effort() -> Iterator[None]:
    """Print what goes wrong with the registry: the step's own end counts, not what is noted of it."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (ValueError, OSError, MlflowException) as error:
        print(f"how this step ended is not noted in the registry: {error}", file=sys.stderr)
