"""The wire protocols: every module of this folder is one, and holds all that is known of it in its `PROTOCOL`.

So a new protocol is a new module. Routes, the choices of `--protocol`, OpenAPI and the overload policies follow.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line asks for names alone, and must not wait for what the protocols import
    from serving.protocol import Protocol


def names() -> list[str]:
    """Return the names of all protocols, without importing any."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@cache
def load_protocols() -> "Mapping[str, Protocol]":
    """Import all protocols and return them by name."""
    protocols = {name: import_module(f"{__name__}.{name}").PROTOCOL for name in names()}
    for name, protocol in protocols.items():
        assert protocol.name == name, f"the protocol {protocol.name!r} is in the module {name!r}"
    return protocols
