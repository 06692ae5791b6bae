"""The commands about a cluster: `compile`, `submit` and `schedule`."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.options import (
    DataOption,
    RecipeOption,
    SetOption,
    TestOption,
    chosen_recipe,
    file_to_write,
    model_name,
)

HostOption = Annotated[
    str, typer.Option("--host", help="Address of Kubeflow Pipelines; by default KF_PIPELINES_ENDPOINT.")
]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="Namespace of the runs.")]
RepositoryOption = Annotated[
    str, typer.Option("--repository", help="URL of the git repository with data.dvc; by default this one's origin.")
]
RevisionOption = Annotated[
    str, typer.Option("--revision", help="Git revision of data.dvc, looked up when a run starts.")
]
RemoteOption = Annotated[
    str, typer.Option("--remote", help="DVC remote with the data: a name, or an address; else the repository's own.")
]
RegisteredOption = Annotated[
    str, typer.Option("--name", help="Registered model; by default reward-model.", callback=model_name)
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the calls; ask nothing of the server.")]
ProfileOption = Annotated[str, typer.Option("--profile", help="What steps ask of the cluster: cpu, gpu or multi-node.")]
CronOption = Annotated[str, typer.Option(help="Six fields, seconds first, in UTC: '0 30 2 * * *' is 02:30 each day.")]


def compile(  # noqa: A001 (the command's name)
    out: Annotated[
        Path | None, typer.Option(help="IR file, .yaml; by default the committed one.", callback=file_to_write)
    ] = None,
    placed: Annotated[str, typer.Option("--profile", help="local, cpu, gpu or multi-node.")] = "local",
    objects: Annotated[
        Path | None,
        typer.Option(help="Write Pipeline and PipelineVersion objects here too.", callback=file_to_write),
    ] = None,
    namespace: NamespaceOption = "kubeflow",
) -> None:
    """Compile the pipeline to Kubeflow IR."""
    from pipelines.ir import GOLDEN, compile_objects, compile_pipeline, ir_digest
    from pipelines.kubeflow.submit import version_name
    from pipelines.profiles import profile

    if placed != "local" and out is None:
        raise ValueError("the committed IR is that of the profile local: name another file with --out")
    target, chosen = out or GOLDEN, profile(placed)
    compile_pipeline(target, chosen)
    typer.echo(f"{target} {ir_digest(target)}")
    if objects:
        compile_objects(objects, chosen, version=version_name(target), namespace=namespace)
        typer.echo(f"{objects} {version_name(target)}")


def submit(  # noqa: PLR0913 (one parameter an option)
    host: HostOption = "",
    namespace: NamespaceOption = "kubeflow",
    recipe: RecipeOption = "smollm2",
    data: DataOption = "",
    test: TestOption = "",
    repository: RepositoryOption = "",
    revision: RevisionOption = "",
    remote: RemoteOption = "",
    name: RegisteredOption = "",
    settings: SetOption = None,
    placed: ProfileOption = "cpu",
    dry_run: DryRunOption = False,
) -> None:
    """Run the pipeline on Kubeflow, once."""
    from pipelines.kubeflow import submit as cluster
    from pipelines.kubeflow.client import explained
    from pipelines.local.run import new_run_id
    from pipelines.profiles import fitted, profile

    if not dry_run:
        _check_image()
    source = cluster_source(data, test, repository, revision, remote)
    where = profile(placed)
    chosen = fitted(chosen_recipe(recipe, settings), where)
    name = name or chosen.registered_name
    client = _client(host, namespace, dry_run=dry_run)
    with explained(), cluster.compiled(where) as package:
        arguments = _arguments(chosen, source, name, package)
        job = cluster.Job(name=new_run_id(chosen), experiment=name, arguments=arguments)
        sent = cluster.submit(client, job, package)
    typer.echo(f"run {sent.id} of version {sent.version}")


def schedule(  # noqa: PLR0913 (one parameter an option)
    cron: CronOption,
    host: HostOption = "",
    namespace: NamespaceOption = "kubeflow",
    recipe: RecipeOption = "smollm2",
    data: DataOption = "",
    test: TestOption = "",
    repository: RepositoryOption = "",
    revision: RevisionOption = "",
    remote: RemoteOption = "",
    name: RegisteredOption = "",
    settings: SetOption = None,
    placed: ProfileOption = "cpu",
    dry_run: DryRunOption = False,
) -> None:
    """Run the pipeline on Kubeflow at set times, in place of the model's schedule so far."""
    from pipelines.kubeflow import submit as cluster
    from pipelines.kubeflow.client import explained
    from pipelines.kubeflow.cron import in_words, next_times
    from pipelines.profiles import fitted, profile

    typer.echo(in_words(cron))
    for time in next_times(cron, after=datetime.now(UTC)):
        typer.echo(f"  {time:%a %Y-%m-%d %H:%M:%S} UTC, here {time.astimezone():%a %H:%M:%S %Z}")
    if not dry_run:
        _check_image()
    source = cluster_source(data, test, repository, revision, remote)
    where = profile(placed)
    chosen = fitted(chosen_recipe(recipe, settings), where)
    name = name or chosen.registered_name
    client = _client(host, namespace, dry_run=dry_run)
    with explained(), cluster.compiled(where) as package:
        job = cluster.Job(name=name, experiment=name, arguments=_arguments(chosen, source, name, package))
        sent = cluster.schedule(client, job, package, cron=cron)
    typer.echo(f"schedule {name} of version {sent.version}: {sent.state} ({sent.id})")


COMMANDS = (compile, submit, schedule)


def doctor_in_cluster(source: Any, *, host: str, namespace: str) -> None:
    """Run the one step that looks whether a run would get through, and say how it ended."""
    import tempfile

    from pipelines.kubeflow.client import explained
    from pipelines.kubeflow.doctor import compile_doctor, examine
    from pipelines.profiles import profile
    from rewardlab.config import settings_json
    from steps.resolve import ResolveConfig

    _check_image()
    known = source.to_dict()
    remote = known.pop("remote")
    settings = settings_json(ResolveConfig(name="doctor", **known), "")
    client = _client(host, namespace, dry_run=False)
    with tempfile.TemporaryDirectory() as folder, explained():
        package = Path(folder) / "doctor.yaml"
        compile_doctor(package, profile("cpu"))
        run, well = examine(client, package, {"settings": settings, "remote": remote})
    typer.echo(f"{'ok  ' if well else 'FAIL'} run {run}: its log says what was found, for an hour:")
    typer.echo(f"  kubectl logs --namespace {namespace} --selector pipeline/runid={run} --container main --tail -1")
    if not well:
        raise typer.Exit(1)


def _client(host: str, namespace: str, *, dry_run: bool) -> Any:
    from pipelines.kubeflow.client import Plan, connect

    return Plan() if dry_run else connect(host, namespace)


def _check_image() -> None:
    """Refuse an image that the cluster cannot pull, or that holds another source than this.

    Raises:
        ValueError: `REWARDLAB_IMAGE` names none, or one with the tag of another source.
    """
    from pipelines.local.images import tag

    image = os.environ.get("REWARDLAB_IMAGE", "")
    place, _, digest = image.partition("@")
    if not digest and place.rpartition("/")[2].partition(":")[2] != tag():
        raise ValueError(
            f"set REWARDLAB_IMAGE to an image of this source that the cluster can pull, with the tag {tag()} or by its "
            f"digest, got {image!r}: `make image`, and push it"
        )


def _arguments(recipe: Any, source: Any, name: str, package: Path) -> dict[str, str]:
    """Return the pipeline's arguments without an id and a folder of the run: a cluster has an id of its own."""
    from pipelines.local.run import pipeline_arguments
    from pipelines.recipes import named

    return pipeline_arguments(named(recipe, name), source, run_id="", run_folder="", ir=package)


def cluster_source(data: str, test: str, repository: str, revision: str, remote: str) -> Any:
    """Return data that a cluster can reach.

    Raises:
        ValueError: they lie on this machine.
    """
    from pipelines.local.run import Source
    from steps.common.data_location import is_remote
    from steps.common.git_repository import is_url

    for place in filter(None, (data, test)):
        if not is_remote(place):
            raise ValueError(f"a cluster does not see {place!r} of this machine: name an s3:// address or a hub id")
    where = repository or _origin()
    if not data and not is_url(where):
        raise ValueError(f"a cluster does not see the repository {where!r}: give --repository URL")
    return Source(data=data, test=test, repository=where, revision=revision, remote=remote)


def _origin() -> str:
    """Return the URL of this checkout's origin, or nothing."""
    from pipelines.code_digest import ROOT

    command = ["git", "-C", str(ROOT), "config", "--get", "remote.origin.url"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
