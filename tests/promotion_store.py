"""A registry in memory whose callers can be held, and can die, before and after every step."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rewardlab.promotion import Entry

DIGESTS = {version: f"{version:064x}" for version in range(1, 100)}


def entry(version: int, follows: Entry | None = None, **more: str) -> Entry:
    """Return an entry that makes a version champion."""
    given = {"alias": "champion", "action": "promote", "bundle": f"bundle-{version}", "test_digest": "t"}
    given |= {"version": str(version), "report": DIGESTS[version], "run": f"run-{version}", "by": "me", "at": "now"}
    return Entry.from_dict({**given, "follows": follows.digest if follows else "", **more})


class DiedError(BaseException):
    """The process was killed."""


class MemoryStore:
    """Versions are numbered atomically and aliases are last-writer-wins, as in MLflow."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.named: dict[str, str] = {}

    def records(self, name: str) -> list[tuple[int, str]]:
        return list(enumerate(self.texts, start=1))

    def append(self, name: str, entry: Entry) -> bool:
        self.texts.append(entry.to_json())
        return True

    def aliases(self, name: str) -> dict[str, str]:
        return dict(self.named)

    def point(self, name: str, alias: str, version: str) -> None:
        self.named[alias] = version


class Stepped:
    """A store that calls `step` before and after each call of the store below."""

    def __init__(self, below: MemoryStore, step: Callable[[], None]) -> None:
        self.below, self.step = below, step

    def records(self, name: str) -> list[tuple[int, str]]:
        self.step()
        found = self.below.records(name)
        self.step()
        return found

    def append(self, name: str, entry: Entry) -> bool:
        self.step()
        done = self.below.append(name, entry)
        self.step()
        return done

    def aliases(self, name: str) -> dict[str, str]:
        self.step()
        found = self.below.aliases(name)
        self.step()
        return found

    def point(self, name: str, alias: str, version: str) -> None:
        self.step()
        self.below.point(name, alias, version)
        self.step()


def dying(after: int) -> Callable[[], None]:
    """Return a step that kills its caller at the given one."""
    steps = iter(range(after + 1))

    def step() -> None:
        if next(steps) == after:
            raise DiedError

    return step


@contextmanager
def taking_turns(works: Sequence[Callable[[Callable[[], None]], None]]) -> Iterator[Callable[[int], bool]]:
    """Run each work in a thread that stops at every step; yield a function that lets one go on to its next step.

    It returns whether that work goes on after it; when the block ends, all are let run to their ends one by one.
    """
    go = [threading.Semaphore(0) for _ in works]
    stopped = [threading.Semaphore(0) for _ in works]
    ended = [False] * len(works)

    def run(at: int) -> None:
        def step() -> None:
            stopped[at].release()
            go[at].acquire()

        step()
        try:
            works[at](step)
        finally:
            ended[at] = True
            stopped[at].release()

    threads = [threading.Thread(target=run, args=(at,), daemon=True) for at in range(len(works))]
    for at, thread in enumerate(threads):
        thread.start()
        stopped[at].acquire()

    def advance(at: int) -> bool:
        if not ended[at]:
            go[at].release()
            stopped[at].acquire()
        return not ended[at]

    yield advance
    for at in range(len(works)):
        while advance(at):
            pass
