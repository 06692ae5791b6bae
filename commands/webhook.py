"""The deployer, and the webhook by which MLflow wakes it."""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rewardlab.home import webhook_secret
from steps.registry.versions import registry

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.webhook import Webhook, WebhookEvent, WebhookEventStr

EVENTS: "list[WebhookEventStr | WebhookEvent]" = ["model_version_alias.created", "model_version_tag.set"]
"""Who is champion has changed; somebody has signed."""


def become_deployer(options: Sequence[str]) -> None:
    """Replace this process by the deployer."""
    sys.stdout.flush()
    # -P: a folder `serving` in the current folder is not ours
    os.execv(sys.executable, [sys.executable, "-P", "-m", "serving.deployer", *options])  # noqa: S606 (no shell is wanted)


def announce(url: str, *, name: str = "rewardlab-deployer") -> str:
    """Let MLflow send its signed webhook to an address; what has this name already is changed, not doubled.

    Args:
        url: where the deployer listens, as MLflow's server reaches it.
        name: of the webhook.

    Returns:
        what was done.

    Raises:
        ValueError: there is no secret to sign with, or MLflow refuses.
    """
    secret = webhook_secret(os.environ)
    with registry() as client:
        found = [each for each in _webhooks(client) if each.name == name]
        for each in found[1:]:
            client.delete_webhook(each.webhook_id)
        if found:  # MLflow gives the secret it keeps to nobody, so it is written again
            client.update_webhook(found[0].webhook_id, url=url, events=EVENTS, secret=secret, status="ACTIVE")
            return f"webhook {name} goes to {url}, as set again"
        client.create_webhook(name, url, EVENTS, secret=secret)
        return f"webhook {name} goes to {url}"


def _webhooks(client: "MlflowClient") -> "Iterator[Webhook]":
    token = None
    while True:
        page = client.list_webhooks(page_token=token)
        yield from page
        if not (token := page.token):
            return
