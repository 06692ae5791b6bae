"""Options that several commands share, and what is refused before a command starts."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardlab.files import write_json

if TYPE_CHECKING:
    from pipelines.recipes import Recipe


def known_format(name: str | None) -> str | None:
    """Refuse a format that no reader knows."""
    if name is not None:
        from rewardlab.readers import reader

        try:
            reader(name)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return name


def known_rule(name: str) -> str:
    """Refuse a benchmark's rule that is not known."""
    if name:
        from steps.evaluate.rules import RULES

        if name not in RULES:
            raise typer.BadParameter(f"there is no rule {name!r}: choose {', '.join(RULES)}")
    return name


def model_name(name: str) -> str:
    """Refuse a name that the registry would refuse after the training."""
    if not re.fullmatch(r"[\w.-]*", name):
        raise typer.BadParameter(f"a registered model's name is letters, digits, '_', '-' and '.', got {name!r}")
    return name


def file_to_write(context: typer.Context, path: Path | None) -> Path | None:
    """Refuse a folder, or a file that an eager option of the command names: writing would replace what it holds."""
    if path and path.is_dir():
        raise typer.BadParameter(f"{path} is a folder: name a file to write")
    if path and path.exists():
        given = (Path(value) for value in context.params.values() if isinstance(value, str | Path))
        if any(read.exists() and path.samefile(read) for read in given):
            raise typer.BadParameter(f"{path} is read too: name another file to write")
    return path


def folder_to_make(path: Path) -> Path:
    """Refuse a folder that holds something, or a file: writing would replace it."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise typer.BadParameter(f"{path} exists: name a new folder")
    return path


def known_runner(name: str) -> str:
    """Refuse a runner that is none."""
    if name not in ("process", "docker"):
        raise typer.BadParameter(f"there is no runner {name!r}: choose process or docker")
    return name


def memory_size(text: str) -> str:
    """Refuse what Docker would not take for a size."""
    if not re.fullmatch(r"(\d+[kmg])?", text):
        raise typer.BadParameter(f"it takes a size such as 6g or 500m, got {text!r}")
    return text


def show(text: str, json_file: Path | None, result: object) -> None:
    """Print the result of a command as text, and write it where `--json` says."""
    if json_file:
        write_json(json_file, result)
    typer.echo(text)


def absolute(data: str) -> str:
    """Return where data are from any folder; what is remote or not given stays as it is."""
    from steps.common.data_location import is_remote

    return data if not data or is_remote(data) else str(Path(data).absolute())


RecipeOption = Annotated[str, typer.Option("--recipe", "-r", help="Recipe, such as smoke, minilm or smollm2.")]
DataOption = Annotated[
    str, typer.Option("--data", help="File, folder, s3:// or hub id of preferences; without it, data.dvc.")
]
LabelledOption = Annotated[
    str,
    typer.Option(
        "--data", help="File, folder, s3:// or hub id of labelled preferences, of any known format.", is_eager=True
    ),
]
TestOption = Annotated[str, typer.Option("--test", help="All the test data, named as data are.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", help="FIELD=COLUMN: the column that is a field, such as prompt=query or family=topic."),
]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="A recipe's setting, such as train.epochs=2.")]
RunnerOption = Annotated[
    str,
    typer.Option(
        "--runner",
        help="What a step runs in: a process, or a container on docker's or podman's socket.",
        callback=known_runner,
    ),
]
MemoryOption = Annotated[
    str,
    typer.Option(
        "--memory", help="Memory of a container, such as 6g; by default 4/5 of this machine's.", callback=memory_size
    ),
]
NprocOption = Annotated[
    int | None, typer.Option("--nproc", help="Processes that train together, one a GPU: train.num_processes.", min=1)
]
ModelOption = Annotated[str, typer.Option("--model", help="Bundle folder, version, alias or models:/NAME@ALIAS.")]
AnchorOption = Annotated[str, typer.Option("--anchor", help="Another model to hold it against, named as --model is.")]
NameOption = Annotated[str, typer.Option("--name", help="Registered model.")]
ParseOption = Annotated[
    str | None,
    typer.Option("--parse", help="Format of the rows, such as hh; else recognised.", callback=known_format),
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Write the result here as JSON.", callback=file_to_write)
]
FolderOption = Annotated[Path, typer.Option("--out", help="Folder to write; a new one.", callback=folder_to_make)]


def chosen_columns(given: list[str] | None) -> dict[str, str]:
    """Return what `--map FIELD=COLUMN` says.

    Raises:
        typer.BadParameter: a name is missing, or a field is named twice.
    """
    columns: dict[str, str] = {}
    for item in given or []:
        name, _, column = item.partition("=")
        if not (name and column) or name in columns:
            raise typer.BadParameter(f"it takes FIELD=COLUMN once a field, got {item!r}", param_hint="'--map'")
        columns[name] = column
    return columns


def chosen_recipe(name: str, given: list[str] | None = None, columns: dict[str, str] | None = None) -> "Recipe":
    """Return a recipe with `--set KEY=VALUE` applied, and `--map`'s columns; a value is JSON, or else text.

    Raises:
        typer.BadParameter: there is no such recipe or setting, or a value does not fit.
    """
    from pipelines.recipes import RECIPES, new_name, recipe

    settings: dict[str, object] = {"ingest.columns": columns} if columns else {}
    for item in given or []:
        key, equals, value = item.partition("=")
        if not equals:
            raise typer.BadParameter(f"it takes KEY=VALUE, got {item!r}", param_hint="'--set'")
        try:
            settings[key] = json.loads(value)
        except json.JSONDecodeError:
            settings[key] = value
    for key, setting in settings.items():
        if (now := new_name(key, setting, settings)) != key:
            typer.echo(f"rewardlab: the setting {key} is called {now}; its old name goes with version 0.2", err=True)
    try:
        return recipe(name, settings)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--set'" if name in RECIPES else "'--recipe'") from error
