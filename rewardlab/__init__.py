"""rewardlab: load a reward model, score responses, read preference data, reward a trainer.

Importing this package imports nothing heavy: each name brings what it needs when it is first used.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rewardlab import metrics
    from rewardlab.adapters import reward_function
    from rewardlab.client import AsyncRemoteReward, RemoteReward
    from rewardlab.engine import Engine, Scores
    from rewardlab.groups import Comparison, Message, PreferenceGroup

__all__ = [
    "AsyncRemoteReward",
    "Comparison",
    "Engine",
    "Message",
    "PreferenceGroup",
    "RemoteReward",
    "Scores",
    "__version__",
    "load",
    "metrics",
    "read",
    "reward_function",
]

_HOMES = {
    "AsyncRemoteReward": "rewardlab.client",
    "Comparison": "rewardlab.groups",
    "Engine": "rewardlab.engine",
    "Message": "rewardlab.groups",
    "PreferenceGroup": "rewardlab.groups",
    "RemoteReward": "rewardlab.client",
    "Scores": "rewardlab.engine",
    "reward_function": "rewardlab.adapters",
}


def load(ref: str, *, threads: int | None = None, verify_key: str | Path | None = None) -> "Engine":
    """Load a reward model for scoring; its golden texts are scored again first.

    Args:
        ref: a bundle folder, or `models:/reward-model@champion`, a version or an alias in the registry.
        threads: for one forward pass; by default as many as the cores that this process may use.
        verify_key: public key (PEM) whose owner must have signed the bundle; by default nobody need.

    Raises:
        ValueError: the reference names nothing, the bundle is damaged or scores otherwise than it did when sealed, or
            a signature that must hold does not.

    Example:
        >>> engine = load("bundle")
        >>> scores = engine.score("What is 2 + 2?", ["It is 4.", "It is 5."])
        >>> scores.truncated
        (False, False)
    """
    from rewardlab.bundle import Bundle
    from rewardlab.engine import Engine
    from rewardlab.references import resolve

    folder, label = resolve(ref)
    key = Path(verify_key) if verify_key else None
    engine = Engine(Bundle.open(folder, label, verify_key=key), threads=threads)
    engine.check_golden()
    return engine


def read(
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    columns: Mapping[str, str] | None = None,
) -> "list[PreferenceGroup]":
    """Read a file of preference data: JSON lines, JSON, CSV or TSV, gzipped or not, in any format that is known.

    Nothing is left out silently: the first row that cannot be read is an error. `rewardlab.readers.read` gives such
    rows with their reasons instead; the command `rewardlab ingest` also reads Parquet, folders, `s3://` and hub ids.

    Args:
        path: the file.
        format: the name of a reader, such as `hh`; by default the format is recognised.
        columns: from a field to the column that holds it, such as `{"prompt": "query", "family": "topic"}`.

    Raises:
        ValueError: the format is unknown, the file is damaged, or a row cannot be read; the message names the line.
        OSError: the file cannot be opened.

    Example:
        >>> group = read("pairs.jsonl")[0]
        >>> group.responses
        ('It is 4.', 'It is 5.')
        >>> group.comparisons[0].better
        0
    """
    from rewardlab.readers import BadRow
    from rewardlab.readers import read as read_rows
    from rewardlab.rows import open_rows

    groups = []
    try:
        for item in read_rows(open_rows(Path(path)), format, columns):
            if isinstance(item, BadRow):
                raise ValueError(f"line {item.line}: {item.reason}")
            groups.append(item)
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(f"{path} ") else f"{path}: {error}") from error
    return groups


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what a name stands for when it is first asked for."""
        if name == "metrics":
            return import_module("rewardlab.metrics")
        if name not in _HOMES:
            raise AttributeError(f"module 'rewardlab' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
