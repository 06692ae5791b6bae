"""The commands about what is served on a cluster: `deployer` and `webhook`."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.options import NameOption
from rewardlab.home import DEFAULT_NAME, webhook_secret

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.webhook import Webhook, WebhookEvent, WebhookEventStr

PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Settings of `deployer`: options that are not named here are the deployer's own."""
WEBHOOK = "rewardlab-deployer"
EVENTS: "list[WebhookEventStr | WebhookEvent]" = ["model_version_alias.created", "model_version_tag.set"]
"""Who is champion has changed; somebody has signed."""


def deployer(
    context: typer.Context,
    template: Annotated[Path, typer.Option(help="InferenceService without a version, JSON.", exists=True)],
    artifacts: Annotated[str, typer.Option(help="Where KServe reads MLflow's artifacts, such as s3://BUCKET/PATH.")],
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Bring champions into production on KServe, in a pod; becomes `python -m serving.deployer`.

    Its other options are --host, --port, --seconds, and what a canary must show (--min-requests ...).
    """
    from commands.serve import become

    options = [f"--template={template}", f"--artifacts={artifacts}", f"--name={name}", *context.args]
    become("serving.deployer", options)


def webhook(
    url: Annotated[str, typer.Option(help="Where the deployer listens, as MLflow reaches it.")],
) -> None:
    """Let MLflow wake the deployer: its webhook is signed with REWARDLAB_WEBHOOK_SECRET. Idempotent."""
    from steps.registry.versions import registry

    secret = webhook_secret(os.environ)
    with registry() as client:
        found = [each for each in _webhooks(client) if each.name == WEBHOOK]
        for each in found[1:]:
            client.delete_webhook(each.webhook_id)
        if found:  # MLflow gives the secret it keeps to nobody, so it is written again
            client.update_webhook(found[0].webhook_id, url=url, events=EVENTS, secret=secret, status="ACTIVE")
        else:
            client.create_webhook(WEBHOOK, url, EVENTS, secret=secret)
    typer.echo(f"webhook {WEBHOOK} goes to {url}{', as set again' if found else ''}")


def _webhooks(client: "MlflowClient") -> "Iterator[Webhook]":
    token = None
    while True:
        page = client.list_webhooks(page_token=token)
        yield from page
        if not (token := page.token):
            return
