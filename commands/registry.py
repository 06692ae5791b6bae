"""The commands of the registry: `models`, `lineage`, `approve`, `promote`, `rollback`, `repair`."""

from typing import Annotated

import typer

from commands.options import JsonOption, NameOption, show
from rewardlab.home import DEFAULT_NAME

VersionArgument = Annotated[str, typer.Argument(help="Version that passed the gate.")]


def models(name: NameOption = DEFAULT_NAME, json: JsonOption = None) -> None:
    """List the versions of a registered model."""
    from steps.registry.versions import list_versions, versions_table

    versions = list_versions(name)
    text = versions_table(versions) if versions else f"{name} has no versions"
    show(text, json, [row.to_dict() for row in versions])


def approve(
    version: VersionArgument,
    name: NameOption = DEFAULT_NAME,
    person: Annotated[str, typer.Option("--as", help="Who signs; by default the user's name here.")] = "",
) -> None:
    """Sign the gate's report on a version, where the policy asks people to."""
    from steps.registry.versions import approve_version

    typer.echo(approve_version(name, version, person=person))


def promote(version: VersionArgument, name: NameOption = DEFAULT_NAME) -> None:
    """Make a version champion that passed the gate against who is champion now."""
    from steps.registry.versions import promote_version

    typer.echo(promote_version(name, version))


def rollback(name: NameOption = DEFAULT_NAME) -> None:
    """Make the previous champion champion again."""
    from steps.registry.versions import roll_back

    typer.echo(roll_back(name))


def repair(name: NameOption = DEFAULT_NAME) -> None:
    """Set the aliases as the promotion log says."""
    from steps.registry.versions import repair as set_right

    typer.echo(set_right(name))


def lineage(
    version: Annotated[str, typer.Argument(help="Version, alias, or the NAME/VERSION that a score is labelled with.")],
    name: NameOption = DEFAULT_NAME,
    json: JsonOption = None,
) -> None:
    """Say where a version comes from: data, commit, image, IR, gate, promotions."""
    from steps.registry.lineage import lineage as trace
    from steps.registry.lineage import lineage_lines

    found = trace(version, name=name)
    show(lineage_lines(found), json, found.to_dict())


COMMANDS = (models, lineage, approve, promote, rollback, repair)
