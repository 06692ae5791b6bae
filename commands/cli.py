"""The command line: `rewardlab COMMAND`. Exit codes: 0 done, 1 failed or bad data, 2 wrong usage, 3 rejected."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from commands import deploy, kubeflow, measure, registry
from commands.options import (
    DataOption,
    FolderOption,
    MapOption,
    MemoryOption,
    ModelOption,
    NameOption,
    NprocOption,
    ParseOption,
    RecipeOption,
    RunnerOption,
    SetOption,
    TestOption,
    absolute,
    chosen_columns,
    chosen_recipe,
    file_to_write,
    model_name,
)
from rewardlab.home import DEFAULT_NAME

if TYPE_CHECKING:
    from rewardlab.reports import Summary

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(  # noqa: PLR0913 (one parameter an option)
    recipe: RecipeOption = "smollm2",
    data: DataOption = "",
    test: TestOption = "",
    name: Annotated[str, typer.Option(help="Registered model; by default one a data set.", callback=model_name)] = "",
    revision: Annotated[str, typer.Option(help="Git revision of data.dvc.")] = "",
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Reuse finished steps.")] = True,
    settings: SetOption = None,
    columns: MapOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and do nothing.")] = False,
    runner: RunnerOption = "process",
    cpus: Annotated[float | None, typer.Option(help="Cores of a container; by default all.", min=0.1)] = None,
    memory: MemoryOption = "",
) -> None:
    """Run the pipeline: data to a promoted, or rejected, reward model."""
    from pipelines.local.run import Source, default_name
    from pipelines.local.run import run as run_pipeline

    chosen = chosen_recipe(recipe, settings, chosen_columns(columns))
    source = Source(data=absolute(data), test=absolute(test), revision=revision)
    name = name or chosen.model_name or default_name(data)
    if dry_run:
        from commands.dry_run import plan_lines

        typer.echo(plan_lines(chosen, source, name=name))
        return
    where = None
    if runner == "docker":
        from pipelines.local.containers import containers

        where = containers(cpus=cpus, memory=memory)
    summary = run_pipeline(chosen, source, name=name, cache=cache, containers=where)
    _tell(summary)
    if summary.decision == "failed":
        _fail(summary.reason)
    raise typer.Exit(3 if summary.decision == "rejected" else 0)


@app.command()
def ingest(
    data: Annotated[str, typer.Option(help="File, folder, s3:// or hub id of preferences.")],
    out: FolderOption,
    parse: ParseOption = None,
    columns: MapOption = None,
) -> None:
    """Read data of any known format into preference groups."""
    from steps.common.data_location import at_hand
    from steps.ingest import IngestConfig
    from steps.ingest import ingest as run_ingest

    config = IngestConfig(parse=parse, columns=chosen_columns(columns))
    with at_hand(data) as source:
        report = run_ingest(config, source, out)
    typer.echo(f"groups in {out}: {report.num_groups}; unreadable rows: {report.num_unreadable}")
    for reason, count in report.unreadable.items():
        typer.echo(f"  {count} x {reason}")
    for name, sureness in report.formats.items():
        typer.echo(
            f"format {name}: recognised, sureness {sureness:.2f} of 1 (how much of a file's first rows it leads by)"
        )


@app.command("make-data")
def make_data(
    out: FolderOption = Path("data"),
    size: Annotated[int, typer.Option(help="Number of prompts.", min=1)] = 6000,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    noise: Annotated[float, typer.Option(help="Share of votes that a coin decides.")] = 0.0,
    length_bias: Annotated[float, typer.Option(help="Share of votes that go to the longer response.")] = 0.0,
    pool: Annotated[int, typer.Option(help="Make this many prompts with 256 rated responses each instead.")] = 0,
) -> None:
    """Generate the embedded data set, or a variant of it for experiments."""
    from steps.common.progress import progress
    from synthetic import MakeDataConfig
    from synthetic import make_data as run_make_data

    config = MakeDataConfig(size=size, seed=seed, noise=noise, length_bias=length_bias, pool=pool)
    with progress(size, "make-data") as bar:
        report = run_make_data(config, out, advance=bar.update)
    typer.echo(report.to_json())


@app.command()
def train(  # noqa: PLR0913 (one parameter an option)
    out: FolderOption,
    recipe: RecipeOption = "smollm2",
    data: DataOption = "",
    test: TestOption = "",
    nproc: NprocOption = None,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Go on with an interrupted training.")] = True,
    settings: SetOption = None,
) -> None:
    """Train and export without gate or registry: from data to a bundle in a folder."""
    from commands.train import train_bundle
    from pipelines.local.run import Source

    processes = [f"train.num_processes={nproc}"] if nproc else []
    chosen = chosen_recipe(recipe, [*(settings or []), *processes])
    source = Source(data=absolute(data), test=absolute(test))
    typer.echo(f"bundle: {train_bundle(chosen, source, out, resume=cache)}")


@app.command()
def score(
    source: Annotated[Path, typer.Option("--in", help="JSON lines {id?, prompt, responses}.", is_eager=True)],
    target: Annotated[
        Path, typer.Option("--out", help="JSON lines {id?, rewards, truncated, model}.", callback=file_to_write)
    ],
    model: ModelOption = "champion",
    parse: ParseOption = None,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Score responses, line by line."""
    from commands.score import score_file

    bad = score_file(source, target, model=model, parse=parse, name=name)
    if bad:
        _fail(f'lines that could not be scored: {bad}; see their "error" in {target}')


@app.command()
def serve(  # noqa: PLR0913 (one parameter an option)
    model: ModelOption = "champion",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535)] = 8080,
    follow: Annotated[bool, typer.Option("--follow", help="Go along when the alias moves, over HTTP.")] = False,
    protocol: Annotated[str, typer.Option(help="Protocol to serve at the root too, such as openrlhf.")] = "",
    dialect: Annotated[str, typer.Option(hidden=True)] = "",  # the old name of --protocol, for one version more
    tokens: Annotated[str, typer.Option(help="File, or env:NAME, of the bearer tokens that may ask.")] = "",
    verify_key: Annotated[str, typer.Option(help="Public key (PEM); refuse what its owner did not sign.")] = "",
    device: Annotated[str, typer.Option(help="cpu, or cuda with onnxruntime-gpu.")] = "cpu",
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Serve a model: resolves the reference, then becomes `python -m serving`."""
    from commands.serve import become_server

    options = ["--host", host, "--port", str(port), "--device", device]
    at_root = protocol or dialect
    options += (["--protocol", at_root] if at_root else []) + (["--tokens", tokens] if tokens else [])
    options += ["--verify-key", verify_key] if verify_key else []
    become_server(model, options, name=name, follow=follow)


@app.command()
def report(run_id: Annotated[str, typer.Argument(help="Run; by default the newest.")] = "latest") -> None:
    """Say how a run ended and where its report is."""
    from rewardlab.files import read_json
    from rewardlab.layout import SUMMARY
    from rewardlab.reports import Summary

    summary = Path("runs") / run_id / SUMMARY
    if not summary.is_file():
        raise ValueError(f"there is no {summary}: runs are listed in runs/")
    _tell(Summary.from_dict(read_json(summary)))


@app.command()
def doctor(  # noqa: PLR0913 (one parameter an option)
    name: Annotated[str, typer.Option("--recipe", help="Recipe to check for.")] = "smollm2",
    in_cluster: Annotated[bool, typer.Option("--in-cluster", help="Look from a pod of Kubeflow Pipelines.")] = False,
    host: kubeflow.HostOption = "",
    namespace: kubeflow.NamespaceOption = "kubeflow",
    data: DataOption = "",
    repository: kubeflow.RepositoryOption = "",
    revision: kubeflow.RevisionOption = "",
    remote: kubeflow.RemoteOption = "",
) -> None:
    """Check dependencies, disk, ports, registry and backbone; or what a cluster's steps reach."""
    if in_cluster:
        source = kubeflow.cluster_source(data, "", repository, revision, remote)
        kubeflow.doctor_in_cluster(source, host=host, namespace=namespace)
        return
    from commands.doctor import check

    findings = check(chosen_recipe(name))
    for finding in findings:
        typer.echo(finding.line)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def gc(
    keep: Annotated[int, typer.Option(help="Newest runs to keep.", min=0)] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove what old runs left on this machine; registered versions stay."""
    from commands.gc import clean

    typer.echo("\n".join(clean(keep=keep, dry_run=dry_run)) or "nothing to remove")


for command in (*measure.COMMANDS, *kubeflow.COMMANDS, *registry.COMMANDS):
    app.command()(command)
app.command(context_settings=deploy.PASSED_ON)(deploy.deployer)
app.command()(deploy.webhook)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; what its user did wrong is one line on standard error, not a traceback.

    Args:
        arguments: the command and its options; by default those of this process.
    """
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # else it tells of each table it makes
    try:
        code = app(arguments, standalone_mode=False)
    except typer.TyperException as error:
        _fail(f"{error.format_message().rstrip('.')}; --help lists what there is", error.exit_code)
    except (ValueError, OSError, ArithmeticError) as error:
        _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted; finished steps are kept and will be reused", 130)
    sys.exit(code)


def _fail(message: str, code: int = 1) -> NoReturn:
    first, *rest = [line.strip() for line in message.splitlines() if line.strip()]
    print(f"rewardlab: {' '.join((first, '; '.join(rest))).strip()}", file=sys.stderr)
    sys.exit(code)


def _tell(summary: "Summary") -> None:
    first_line, _, _ = summary.reason.partition("\n")
    typer.echo(f"decision: {summary.decision} ({first_line})")
    for name, value in (("model", summary.model), ("report", summary.report)):
        if value:
            typer.echo(f"{name}: {value}")


if __name__ == "__main__":
    main()
