"""Read the promotion log, and what an alias stands for by it: every reader of an alias asks here."""

from typing import Any, Protocol

from rewardlab.promotion.log import CHAMPION, Log, log_name, replay

ENTRY = "entry"
"""The tag of a version of `NAME.log` that holds its entry."""
PAGE = 1000


class Reader(Protocol):
    """A registry that can be read; each method is one step."""

    def records(self, name: str) -> list[tuple[int, str]]:
        """Return number and text of every entry in the log of a registered model."""

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version that each alias of a registered model names; a model that does not exist is an error."""


def read(registry: Reader, name: str) -> Log:
    """Return the log of a registered model as it is.

    Raises:
        LogError: it was changed from outside.
    """
    return replay(registry.records(name))


def alias_versions(registry: Reader, name: str) -> dict[str, str]:
    """Return the version that each alias of a registered model stands for.

    The promotion log decides. An alias that the log does not mention stands for the version that the registry says.

    Raises:
        LogError: the log was changed from outside.
    """
    by_registry, by_log = _aliases(registry, name)
    return by_registry | by_log


def alias_version(registry: Reader, name: str, alias: str) -> str | None:
    """Return the version that an alias stands for; None where there is no such alias.

    The promotion log decides. An alias that the log does not mention stands for the version that the registry says.

    Raises:
        ValueError: the alias `champion` is set, and no entry of the log has made anything champion; or the log was
            changed from outside.
    """
    by_registry, by_log = _aliases(registry, name)
    if alias == CHAMPION and alias in by_registry and alias not in by_log:
        version = by_registry[alias]
        raise ValueError(
            f"version {version} has the alias champion of {name}, but no promotion made it so: "
            f"`rewardlab promote {version} --name {name}` does if it passed the gate, or remove the alias"
        )
    return (by_registry | by_log).get(alias)


def _aliases(registry: Reader, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of aliases by the registry and by the log.

    The registry is asked first: an alias that a promotion has just set is then in the log that is read.
    """
    by_registry = registry.aliases(name)
    return by_registry, read(registry, name).projection()


class ClientReader:
    """A `Reader` on an MLflow client that the caller brings: this package imports no mlflow.

    Args:
        client: an `MlflowClient`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def records(self, name: str) -> list[tuple[int, str]]:
        """Return number and text of every entry in the log of a registered model."""
        records: list[tuple[int, str]] = []
        token = None
        while True:  # in the order of numbers, so that entries written meanwhile come last and shift no page
            page = self._client.search_model_versions(
                f"name = '{log_name(name)}'", max_results=PAGE, order_by=["version_number ASC"], page_token=token
            )
            records += [(int(version.version), str(version.tags.get(ENTRY, ""))) for version in page]
            token = page.token
            if not token:
                return records

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version that each alias of a registered model names."""
        model = self._client.get_registered_model(name)
        return {alias: str(version) for alias, version in model.aliases.items()}


def client_log(client: Any, name: str) -> Log:
    """Return the log of a registered model, read with an `MlflowClient`.

    Raises:
        LogError: it was changed from outside.
    """
    return read(ClientReader(client), name)
