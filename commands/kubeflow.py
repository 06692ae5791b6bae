"""The commands about a cluster: `compile`, `submit` and `schedule`."""

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

    source = _source(data, test, repository, revision, remote)
    where = profile(placed)
    chosen = fitted(chosen_recipe(recipe, settings), where)
    name = name or chosen.registered_name
    run_id = new_run_id(chosen)
    arguments = _arguments(chosen, source, name, run_id)
    job = cluster.Job(name=run_id, experiment=name, arguments=arguments)
    client = _client(host, namespace, dry_run=dry_run)
    with explained(), cluster.compiled(where) as package:
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
    source = _source(data, test, repository, revision, remote)
    where = profile(placed)
    chosen = fitted(chosen_recipe(recipe, settings), where)
    name = name or chosen.registered_name
    job = cluster.Job(name=name, experiment=name, arguments=_arguments(chosen, source, name, ""))
    client = _client(host, namespace, dry_run=dry_run)
    with explained(), cluster.compiled(where) as package:
        sent = cluster.schedule(client, job, package, cron=cron)
    typer.echo(f"schedule {name} of version {sent.version}: {sent.state} ({sent.id})")


COMMANDS = (compile, submit, schedule)


def _client(host: str, namespace: str, *, dry_run: bool) -> Any:
    from pipelines.kubeflow.client import Plan, connect

    return Plan() if dry_run else connect(host, namespace)


def _arguments(recipe: Any, source: Any, name: str, run_id: str) -> dict[str, str]:
    from pipelines.local.run import pipeline_arguments
    from pipelines.recipes import named

    return pipeline_arguments(named(recipe, name), source, run_id=run_id, run_folder="")


def _source(data: str, test: str, repository: str, revision: str, remote: str) -> Any:
    """Return data that a cluster can reach.

    Raises:
        ValueError: they lie on this machine.
    """
    from pipelines.local.run import Source
    from steps.common.data_location import is_remote

    for place in filter(None, (data, test)):
        if not is_remote(place):
            raise ValueError(f"a cluster does not see {place!r} of this machine: name an s3:// address or a hub id")
    where = repository or _origin()
    if not data and "://" not in where and not where.startswith("git@"):
        raise ValueError(f"a cluster does not see the repository {where!r}: give --repository URL")
    return Source(data=data, test=test, repository=where, revision=revision, remote=remote)


def _origin() -> str:
    """Return the URL of this checkout's origin, or nothing."""
    from pipelines.code_digest import ROOT

    command = ["git", "-C", str(ROOT), "config", "--get", "remote.origin.url"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
