"""The deployer, and the webhook by which MLflow wakes it."""

import os
import sys
from collections.abc import Sequence

from pipelines.registry import registry
from rewardlab.home import webhook_secret

EVENTS = ("model_version_alias.created", "model_version_tag.set")
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
        found, token = [], None
        while True:
            page = client.list_webhooks(page_token=token)
            found += [each for each in page if each.name == name]
            if not (token := page.token):
                break
        events = list(EVENTS)
        if found:  # what MLflow keeps as the secret cannot be read, so it is written again
            first, *others = found
            client.update_webhook(first.webhook_id, url=url, events=events, secret=secret, status="ACTIVE")
            for each in others:
                client.delete_webhook(each.webhook_id)
            return f"webhook {name} goes to {url}, as set again"
        client.create_webhook(name, url, events, secret=secret)
        return f"webhook {name} goes to {url}"
