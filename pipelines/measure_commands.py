"""The commands that measure models: `rewardlab evaluate`, `compare`."""

from typing import Annotated

import typer

from pipelines.options import AnchorOption, JsonOption, LabelledOption, ModelOption, NameOption, ParseOption
from rewardlab.home import DEFAULT_NAME


def evaluate(
    data: LabelledOption,
    model: ModelOption = "champion",
    json: JsonOption = None,
    parse: ParseOption = None,
    name: NameOption = DEFAULT_NAME,
    anchor: AnchorOption = "",
) -> None:
    """Measure a model on labelled data."""
    from pipelines.measuring import evaluate_reference, table
    from rewardlab.files import write_json

    result = evaluate_reference(model, data, parse=parse, name=name, anchor=anchor)
    if json:
        write_json(json, result)
    typer.echo(table(result))


def compare(
    first: Annotated[str, typer.Argument(help="Bundle folder, version, alias or models:/NAME@ALIAS.")],
    second: Annotated[str, typer.Argument(help="The other one.")],
    data: LabelledOption,
    json: JsonOption = None,
    parse: ParseOption = None,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Compare two models on the same labelled data."""
    from pipelines.measuring import compare_references, comparison_table
    from rewardlab.files import write_json

    result = compare_references((first, second), data, parse=parse, name=name)
    if json:
        write_json(json, result)
    typer.echo(comparison_table(result))


COMMANDS = (evaluate, compare)
