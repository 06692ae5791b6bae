"""Read the log with an MLflow client that the caller brings: the ground imports no mlflow."""

from typing import Any

from rewardlab.promotion.log import CHAMPION, Log, log_name, replay

ENTRY = "entry"
"""The tag of a version of `NAME.log` that holds its entry."""
PAGE = 1000


def client_records(client: Any, name: str) -> list[tuple[int, str]]:
    """Return number and text of each entry in the log of a registered model.

    Args:
        client: an `MlflowClient`.
        name: the registered model.
    """
    found: list[tuple[int, str]] = []
    token = None
    while True:  # in the order of numbers, so that entries written meanwhile come last and shift no page
        page = client.search_model_versions(
            f"name = '{log_name(name)}'", max_results=PAGE, order_by=["version_number ASC"], page_token=token
        )
        found += [(int(version.version), str(version.tags.get(ENTRY, ""))) for version in page]
        token = page.token
        if not token:
            return found


def client_log(client: Any, name: str) -> Log:
    """Return the replayed log of a registered model; see `client_records`.

    Raises:
        LogError: it was changed from outside.
    """
    return replay(client_records(client, name))


def standing_version(log: Log, name: str, alias: str, found: str | None) -> str | None:
    """Return the version that an alias stands for: what the log says, or where it says nothing, what was found.

    Raises:
        ValueError: the alias `champion` is set, and no entry of the log has made anything champion.
    """
    wanted = log.projection().get(alias)
    if wanted is None and alias == CHAMPION and found is not None:
        raise ValueError(
            f"version {found} has the alias champion of {name}, but no promotion made it so: "
            f"`rewardlab promote {found} --name {name}` does if it passed the gate, or remove the alias"
        )
    return wanted or found
