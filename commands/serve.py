"""Hand a model to the server, and this process to another program of ours."""

import os
import sys
from collections.abc import Sequence

from rewardlab.references import resolve


def become_server(model: str, options: Sequence[str], *, name: str, follow: bool) -> None:
    """Replace this process by the server.

    Args:
        model: what is served, as `resolve` takes it; to be followed it is an alias.
        options: further ones of `python -m serving`.
        name: the registered model that a bare version or alias belongs to.
        follow: let the server ask the registry itself, and go along when the alias moves.

    Raises:
        ValueError: there is no such model, or what is to be followed is no alias.
    """
    served = _followed(model, name) if follow else _fixed(model, name)
    become("serving", [*served, *options])


def become(module: str, options: Sequence[str]) -> None:
    """Replace this process by `python -m MODULE`."""
    sys.stdout.flush()
    # -P: a folder `serving` in the current folder is not ours
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *options])  # noqa: S606 (no shell is wanted)


def _followed(model: str, name: str) -> list[str]:
    address = model if model.startswith("models:/") else f"models:/{name}@{model}"
    if "@" not in address or "/" in address.removeprefix("models:/") or model.isdigit():
        raise ValueError(f"--follow takes an alias, such as champion or models:/{name}@champion, got {model!r}")
    return ["--model", address]


def _fixed(model: str, name: str) -> list[str]:
    folder, label = resolve(model, name=name)
    registered, _, version = (label or "").rpartition("/")
    return ["--bundle", str(folder), *(["--name", registered, "--version", version] if label else [])]
