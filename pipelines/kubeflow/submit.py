"""Send the pipeline to Kubeflow Pipelines: upload a version, run it, and keep its schedule.

A client is a `kfp.Client`, or a `pipelines.kubeflow.client.Plan`, which prints what would be asked of the server.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.ir import compile_pipeline
from pipelines.kubeflow.cron import check_cron
from pipelines.profiles import Profile
from rewardlab import __version__
from rewardlab.config import Config, canonical_json

PIPELINE = "reward-model"
_PAGE = 100
Client = Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Job(Config):
    """What is run: a name, the experiment it belongs to, and the pipeline's arguments."""

    name: str
    experiment: str
    arguments: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent(Config):
    """What stands on the cluster: `state` is `created`, `replaced` or `unchanged`."""

    id: str
    version: str
    state: str


def submit(client: Client, job: Job, package: Path) -> Sent:
    """Run a compiled pipeline once."""
    pipeline, version, version_name = upload(client, package)
    made = client.run_pipeline(
        client.create_experiment(job.experiment).experiment_id,
        job.name,
        pipeline_id=pipeline,
        version_id=version,
        params=job.arguments,
    )
    return Sent(id=made.run_id, version=version_name, state="created")


def schedule(client: Client, job: Job, package: Path, *, cron: str) -> Sent:
    """Let a compiled pipeline run at the times of `cron`, in place of the schedule of the same name.

    The new schedule is there before the old one goes, so that a failure in between loses none; what a failure leaves
    twice, the next call removes.

    Raises:
        ValueError: the expression has not six valid fields.
    """
    cron = check_cron(cron)
    pipeline, version, version_name = upload(client, package)
    experiment = client.create_experiment(job.experiment).experiment_id
    standing = [each for each in _recurring(client, experiment) if each.display_name == job.name]
    same = [each for each in standing if _is_same(each, job, cron=cron, version=version)]
    kept = same[0].recurring_run_id if same else None
    if kept is None:
        made = client.create_recurring_run(
            experiment,
            job.name,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            pipeline_id=pipeline,
            version_id=version,
            params=job.arguments,
        )
    for each in standing:
        if each.recurring_run_id != kept:
            client.delete_recurring_run(each.recurring_run_id)
    state = "unchanged" if kept else "replaced" if standing else "created"
    return Sent(id=kept or made.recurring_run_id, version=version_name, state=state)


def upload(client: Client, package: Path) -> tuple[str, str, str]:
    """Upload a compiled pipeline unless it is there; return the ids of pipeline and version, and the version's name.

    The pipeline is one of the client's namespace, if it has one; else all namespaces share it. A version is named after
    what it holds. The first upload of a pipeline makes a version of the pipeline's own name, which is left alone.

    Raises:
        ValueError: a version of this name holds another pipeline.
    """
    namespace = client.get_user_namespace() or None
    equals = 1  # of the API's filter operations
    named = {"predicates": [{"operation": equals, "key": "display_name", "stringValue": PIPELINE}]}
    standing = client.list_pipelines(namespace=namespace, filter=canonical_json(named)).pipelines
    if standing:
        pipeline = standing[0].pipeline_id
    else:
        made = client.upload_pipeline(
            str(package),
            pipeline_name=PIPELINE,
            description="Preference data to a promoted reward model.",
            namespace=namespace,
        )
        pipeline = made.pipeline_id
    name = version_name(package)
    for version in _versions(client, pipeline):
        if version.display_name == name:
            if _meaning(version.pipeline_spec) != _meaning(list(yaml.safe_load_all(package.read_text("utf-8")))):
                raise ValueError(
                    f"version {name} of {PIPELINE} on the cluster holds another pipeline: delete it there, then again"
                )
            return pipeline, version.pipeline_version_id, name
    made = client.upload_pipeline_version(str(package), name, pipeline_id=pipeline)
    return pipeline, made.pipeline_version_id, name


def version_name(package: Path) -> str:
    """Return the name of a compiled pipeline: the release, and the start of the sha256 of what it holds."""
    documents = list(yaml.safe_load_all(package.read_text("utf-8")))
    return f"{__version__}-{hashlib.sha256(_meaning(documents).encode()).hexdigest()[:12]}"


@contextmanager
def compiled(profile: Profile) -> Iterator[Path]:
    """Compile the pipeline for the image of this process, `REWARDLAB_IMAGE`, into a file for a while."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / f"{PIPELINE}.yaml"
        compile_pipeline(package, profile)
        yield package


def _versions(client: Client, pipeline: str) -> Iterator[Any]:
    token: str | None = ""
    while token is not None:
        page = client.list_pipeline_versions(pipeline, page_token=token, page_size=_PAGE)
        yield from page.pipeline_versions or ()
        token = page.next_page_token or None


def _recurring(client: Client, experiment: str) -> Iterator[Any]:
    token: str | None = ""
    while token is not None:
        page = client.list_recurring_runs(experiment_id=experiment, page_token=token, page_size=_PAGE)
        yield from page.recurring_runs or ()
        token = page.next_page_token or None


def _is_same(standing: Any, job: Job, *, cron: str, version: str) -> bool:
    """Say whether a recurring run does what the job says, at its times, and is switched on."""
    return (
        standing.trigger.cron_schedule is not None
        and standing.trigger.cron_schedule.cron == cron
        and standing.pipeline_version_reference is not None
        and standing.pipeline_version_reference.pipeline_version_id == version
        and dict(standing.runtime_config.parameters or {}) == job.arguments
        and standing.status == "ENABLED"
    )


def _meaning(documents: Any) -> str:
    """Return a compiled pipeline as canonical JSON: a file's documents, or the server's mapping of them.

    The server keeps numbers as protobuf's JSON writes them, without a fraction where there is none: 2.0 is 2.
    """
    if isinstance(documents, Mapping) and "pipeline_spec" in documents:
        documents = [documents["pipeline_spec"], *filter(None, [documents.get("platform_spec")])]
    return canonical_json(_whole_numbers(documents if isinstance(documents, list) else [documents]))


def _whole_numbers(value: Any) -> Any:
    """Return a document in which each float without a fraction is an integer."""
    if isinstance(value, Mapping):
        return {key: _whole_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
