"""The commands about what is served on a cluster: `deployer` and `webhook`."""

from pathlib import Path
from typing import Annotated

import typer

from commands.options import NameOption
from rewardlab.home import DEFAULT_NAME

PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Settings of `deployer`: options that are not named here are the deployer's own."""


def deployer(
    context: typer.Context,
    template: Annotated[Path, typer.Option(help="InferenceService without a version, JSON.", exists=True)],
    artifacts: Annotated[str, typer.Option(help="Where KServe reads MLflow's artifacts, such as s3://BUCKET/PATH.")],
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Bring champions into production on KServe, in a pod; becomes `python -m serving.deployer`.

    Its other options are --host, --port, --seconds, and what a canary must show (--min-requests ...).
    """
    from commands.webhook import become_deployer

    become_deployer([f"--template={template}", f"--artifacts={artifacts}", f"--name={name}", *context.args])


def webhook(
    url: Annotated[str, typer.Option(help="Where the deployer listens, as MLflow reaches it.")],
) -> None:
    """Let MLflow wake the deployer: its webhook is signed with REWARDLAB_WEBHOOK_SECRET. Idempotent."""
    from commands.webhook import announce

    typer.echo(announce(url))
