"""Replay the promotion log: which entries count, and whom each alias names by them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from rewardlab.promotion.entry import Entry

CHAMPION, PREVIOUS = "champion", "previous"
LOG_SUFFIX = ".log"
_promoted_by = attrgetter("version", "bundle", "test_digest", "report", "run")
"""Returns what a promotion and the rollbacks to it have in common."""


class LogError(ValueError):
    """The log was changed from outside: nothing it says can be relied on."""


@dataclass(frozen=True, slots=True)
class Line:
    """An entry with its number in the log; `void` says why it does not count, "" that it does."""

    number: int
    entry: Entry | None
    void: str


@dataclass(frozen=True, slots=True)
class Log:
    """A replayed log, oldest line first."""

    lines: tuple[Line, ...]

    def accepted(self, alias: str) -> list[Entry]:
        """Return the entries that count for an alias, oldest first; the last one says whom it names."""
        return [line.entry for line in self.lines if line.entry and not line.void and line.entry.alias == alias]

    def head(self, alias: str) -> Entry | None:
        """Return the newest entry that counts for an alias."""
        accepted = self.accepted(alias)
        return accepted[-1] if accepted else None

    def before(self, alias: str) -> Entry | None:
        """Return the entry that the newest one followed."""
        accepted = self.accepted(alias)
        return accepted[-2] if len(accepted) > 1 else None

    def holds(self, entry: Entry) -> bool:
        """Return whether an entry counts."""
        return entry in self.accepted(entry.alias)

    def number(self, entry: Entry) -> int:
        """Return the number of an entry that counts."""
        return next(line.number for line in self.lines if line.entry == entry and not line.void)

    def projection(self) -> dict[str, str]:
        """Return the version that each alias is to name; `previous` is the champion's predecessor."""
        aliases = {line.entry.alias for line in self.lines if line.entry}
        heads = {alias: head.version for alias in sorted(aliases) if (head := self.head(alias))}
        before = self.before(CHAMPION)
        return heads | ({PREVIOUS: before.version} if before else {})


def log_name(name: str) -> str:
    """Return the registered model that holds the log of another.

    Raises:
        ValueError: the name is that of a log.
    """
    if name.endswith(LOG_SUFFIX):
        raise ValueError(f"{name!r} is the name of a promotion log: a registered model is called otherwise")
    return name + LOG_SUFFIX


def replay(records: Iterable[tuple[int, str]]) -> Log:
    """Return the log that numbered texts make.

    An entry counts if it follows the newest one of its alias that counts. One that follows an older one lost a race
    and is void, as is a text that is no entry, and a rollback to what was never promoted.

    Raises:
        LogError: a number is missing, or an entry follows one that does not count: the log was changed.
    """
    chains: dict[str, dict[str, Entry]] = {}  # of each alias, the entries that count by their digest, in order
    lines = []
    for wanted, (number, text) in enumerate(sorted(records), start=1):
        if number != wanted:
            raise LogError(f"the promotion log was changed: entry {wanted} is missing")
        try:
            entry = Entry.parse(text)
        except ValueError as error:
            lines.append(Line(number, None, f"no entry: {error}"))
            continue
        chain = chains.setdefault(entry.alias, {})
        void = _void(entry, chain, number)
        if not void:
            chain[entry.digest] = entry
        lines.append(Line(number, entry, void))
    return Log(tuple(lines))


def _void(entry: Entry, chain: Mapping[str, Entry], number: int) -> str:
    """Return why an entry does not count after those that do, or nothing."""
    digests = ["", *chain]
    if entry.follows not in digests:
        raise LogError(f"the promotion log was changed: entry {number} follows one that is not there")
    if entry.follows != digests[-1]:
        return "stale: another entry came first"
    if entry.action == "rollback" and _promoted_by(entry) not in map(_promoted_by, chain.values()):
        return f"version {entry.version} was never promoted by this report"
    return ""
