"""Change whom an alias names: append an entry, see whether it counts, and set the aliases by the log."""

import time
from typing import Protocol

from rewardlab.promotion.entry import Entry
from rewardlab.promotion.log import Log
from rewardlab.promotion.reading import Reader, read

_TRIES = 12
_LONGEST_WAIT_SECONDS = 1.0


class StaleError(ValueError):
    """Another entry came first: the candidate must be gated again, against who is in charge now."""


class Store(Reader, Protocol):
    """A registry that keeps the log; each method is one step, and a process may die between any two."""

    def append(self, name: str, entry: Entry) -> bool:
        """Write an entry whole and return true; false where it cannot be known whether it was written."""

    def point(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version."""


def move(store: Store, name: str, entry: Entry) -> Log:
    """Append an entry and set the aliases; return the log that holds it.

    It may be called again with the same entry after whatever failure: an entry counts once.

    Raises:
        StaleError: another entry came first, and this one is void or was not written.
        ValueError: the registry took no entry, time and again.
    """
    for attempt in range(_TRIES):
        log = read(store, name)
        if log.holds(entry):
            project(store, name)
            return log
        head = log.head(entry.alias)
        if entry.follows != (head.digest if head else ""):
            found = f"version {head.version}" if head else "none"
            raise StaleError(f"stale: {entry.alias} of {name} is {found} since, by another promotion")
        if not store.append(name, entry):
            time.sleep(min(_LONGEST_WAIT_SECONDS, 0.02 * 2**attempt))
    raise ValueError(f"the registry took no entry into the promotion log of {name} in {_TRIES} tries")


def project(store: Store, name: str) -> dict[str, str]:
    """Let each alias name what the log says, until a reading behind the last writing agrees; return what was set.

    A process that was held up in the middle may set an old version. It reads the log again afterwards and sets that
    right, and if it dies, readers go by the log and the next call repairs the alias.
    """
    changed: dict[str, str] = {}
    while True:
        wanted = read(store, name).projection()
        found = store.aliases(name)
        wrong = {alias: version for alias, version in wanted.items() if found.get(alias) != version}
        if not wrong:
            return changed
        for alias, version in wrong.items():
            store.point(name, alias, version)
        changed |= wrong
