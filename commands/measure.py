"""The commands that measure data and models: `rewardlab validate`, `evaluate`, `compare`, `monitor` and others."""

from pathlib import Path
from typing import Annotated

import typer

from commands.options import (
    AnchorOption,
    FolderOption,
    JsonOption,
    LabelledOption,
    MapOption,
    ModelOption,
    NameOption,
    ParseOption,
    chosen_columns,
    file_to_write,
    known_rule,
    show,
)
from rewardlab.home import DEFAULT_NAME


def validate(  # noqa: PLR0913 (one parameter an option)
    data: LabelledOption,
    out: FolderOption,
    benchmark: Annotated[
        list[str] | None, typer.Option(help="Benchmark whose texts must not be among the data, named as data are.")
    ] = None,
    sample: Annotated[
        int, typer.Option(help="So many groups are looked at for flipped labels, languages, offensive words.", min=0)
    ] = 20_000,
    language: Annotated[list[str] | None, typer.Option(help="Code of an expected language, such as en.")] = None,
    max_quarantine: Annotated[
        float, typer.Option(help="Share of bad rows from which the data are refused.", min=0.0, max=1.0)
    ] = 0.05,
    parse: ParseOption = None,
    columns: MapOption = None,
) -> None:
    """Check preference data as a run would, and more slowly for what a run leaves out."""
    from commands.validate import check_data, lines
    from steps.ingest import IngestConfig
    from steps.validate import ValidateConfig

    config = ValidateConfig(
        max_quarantine_share=max_quarantine,
        benchmarks=dict.fromkeys(benchmark or [], ""),
        num_sampled=sample,
        languages=tuple(language or ()),
    )
    reading = IngestConfig(parse=parse, columns=chosen_columns(columns))
    typer.echo(lines(check_data(data, out, reading, config), out))


def evaluate(  # noqa: PLR0913 (one parameter an option)
    data: LabelledOption,
    model: ModelOption = "champion",
    json: JsonOption = None,
    parse: ParseOption = None,
    name: NameOption = DEFAULT_NAME,
    anchor: AnchorOption = "",
    rule: Annotated[
        str,
        typer.Option(help="Score as this benchmark does, such as rewardbench2; else recognised.", callback=known_rule),
    ] = "",
) -> None:
    """Measure a model on labelled data: a bundle, or any sequence classifier of one logit (a folder or hub id)."""
    from commands.evaluate import Beside, evaluate_reference, table

    result = evaluate_reference(model, data, parse=parse, beside=Beside(name=name, anchor=anchor, rule=rule))
    show(table(result), json, result.to_dict())


def compare(
    first: Annotated[str, typer.Argument(help="Bundle folder, version, alias or models:/NAME@ALIAS.")],
    second: Annotated[str, typer.Argument(help="The other one.")],
    data: LabelledOption,
    json: JsonOption = None,
    parse: ParseOption = None,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Compare two models on the same labelled data."""
    from commands.evaluate import compare_references, comparison_table

    result = compare_references((first, second), data, parse=parse, name=name)
    show(comparison_table(result), json, result.to_dict())


def leaderboard(
    name: NameOption = DEFAULT_NAME,
    data: Annotated[str, typer.Option(help="Measure all versions on this; else what their gates saw.")] = "",
    parse: ParseOption = None,
    json: JsonOption = None,
) -> None:
    """Show every version of a registered model side by side, the oldest first."""
    from commands.leaderboard import leaderboard as rows_of
    from commands.leaderboard import leaderboard_table

    rows = rows_of(name, data, parse=parse)
    show(leaderboard_table(rows), json, [row.to_dict() for row in rows])


def monitor(
    log: Annotated[
        Path,
        typer.Option(help="JSON lines of scores in order of time, as `rewardlab score` writes them.", is_eager=True),
    ],
    model: ModelOption = "champion",
    page: Annotated[Path, typer.Option(help="HTML page to write.", callback=file_to_write)] = Path("monitor.html"),
    json: JsonOption = None,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Hold scores against the distribution that the model's bundle was sealed with; exit 1 past the limits."""
    from commands.monitor import monitor as watch
    from commands.monitor import table

    result = watch(log, model, name=name, page=page)
    show(f"{table(result)}\npage: {page}", json, result.to_dict())
    if not result.holds:
        raise typer.Exit(1)


def overoptimize(  # noqa: PLR0913 (one parameter an option)
    data: Annotated[
        str, typer.Option("--data", help="Pools of rated responses: file, folder, s3:// or hub id.", is_eager=True)
    ],
    model: ModelOption = "champion",
    aspect: Annotated[str, typer.Option(help="Ratings that stand for the truth.")] = "gold",
    page: Annotated[Path, typer.Option(help="HTML page to write.", callback=file_to_write)] = Path(
        "overoptimization.html"
    ),
    json: JsonOption = None,
    parse: ParseOption = None,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Show what best-of-n under a model gains in its rewards and in the truth, and from which n on it loses."""
    from commands.overoptimize import overoptimize as measure
    from commands.overoptimize import table

    result = measure(model, data, aspect=aspect, name=name, parse=parse, page=page)
    show(f"{table(result)}\npage: {page}", json, result.to_dict())


COMMANDS = (validate, evaluate, compare, leaderboard, monitor, overoptimize)
