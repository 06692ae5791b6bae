"""The queue of responses that wait for the engine: priced in tokens, batched by prompt, then by length."""

import asyncio
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rewardlab.readout import LENGTH_MULTIPLE
from rewardlab.tokens import TokenTree
from serving.loaded_model import LoadedModel

TOKEN_BUDGET = 1024
"""Tokens that close a batch: beyond it a CPU gains nothing, and whoever waits next waits longer."""
LENGTH_SLACK = 0.05
"""How much longer or shorter than the oldest prompt's rows another prompt's may be and still join its batch."""

Outcome = tuple[float, dict[str, float]] | Exception
"""A reward and its aspects, or why there is none."""
Ids = tuple[int, ...]
Branch = tuple[int, bytes]
"""What two leaves share that hang from one prompt: the model and the prompt's ids. Bytes remember their hash; a tuple
of ids would be read again each time that it is looked for."""
Key = tuple[int, bytes, bytes]
"""What makes two leaves the same work: the response's ids too."""


@dataclass(frozen=True, slots=True)
class BatchCost:
    """Cost of one batch: tokens that the engine computed, wall-clock seconds, CPU seconds of its thread."""

    tokens: int
    seconds: float
    cpu_seconds: float


class Pending:
    """What a request waits for: one outcome for each of its leaves. It lives on the event loop."""

    def __init__(self, count: int) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self.leaves: list[Leaf] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._missing = count
        if not count:
            self.done.set_result(None)

    def settle(self, index: int, outcome: Outcome) -> None:
        """Take the outcome of one leaf."""
        self.outcomes[index] = outcome
        self._missing -= 1
        if not self._missing and not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True, eq=False)
class Leaf:
    """One response to one prompt, for one model; identical work in flight is one leaf that several wait for."""

    model: LoadedModel
    prompt: Ids
    response: Ids
    waiting: list[tuple[Pending, int]] = field(default_factory=list)
    branch: Branch = field(init=False)
    key: Key = field(init=False)

    def __post_init__(self) -> None:
        self.branch = (id(self.model), _packed(self.prompt))
        self.key = (*self.branch, _packed(self.response))

    @property
    def length(self) -> int:
        """Return the length of the leaf's row in multiples that the engine pads to."""
        return -(-(len(self.prompt) + len(self.response)) // LENGTH_MULTIPLE)


class Queue:
    """Leaves in the order their prompts came; not for several threads at once.

    A batch begins with the oldest prompt, so that nobody starves, takes as many of its responses as the budget holds,
    and then rows of nearly the same length, whoever sent them.
    """

    def __init__(self, budget: int = TOKEN_BUDGET) -> None:
        self.tokens = 0
        self._budget = budget
        self._branches: dict[Branch, dict[Leaf, None]] = {}
        self._lengths: dict[int, dict[Branch, None]] = {}

    def __bool__(self) -> bool:
        """Say whether anything waits."""
        return bool(self._branches)

    def add(self, leaf: Leaf) -> None:
        """Let a leaf wait."""
        branch = self._branches.setdefault(leaf.branch, {})
        self.tokens += _price(leaf, first=not branch)
        branch[leaf] = None
        self._lengths.setdefault(leaf.length, {})[leaf.branch] = None

    def discard(self, leaf: Leaf) -> bool:
        """Let a leaf go; say whether it waited here."""
        branch = self._branches.get(leaf.branch, {})
        if leaf not in branch:
            return False
        del branch[leaf]
        self.tokens -= _price(leaf, first=not branch)
        if not any(other.length == leaf.length for other in branch):
            del self._lengths[leaf.length][leaf.branch]
            if not self._lengths[leaf.length]:
                del self._lengths[leaf.length]
        if not branch:
            del self._branches[leaf.branch]
        return True

    def take(self) -> list[Leaf]:
        """Return the next batch: empty only if nothing waits, over the budget only if it is one leaf."""
        batch = list(self._fitting())
        for leaf in batch:
            self.discard(leaf)
        return batch

    def _fitting(self) -> Iterator[Leaf]:
        """Yield leaves until one does not fit: what is behind it is as long, and looking through it all takes time."""
        spent = 0
        for leaves in self._candidates():
            for number, leaf in enumerate(sorted(leaves, key=lambda leaf: len(leaf.response))):
                price = _price(leaf, first=not number)
                if spent and spent + price > self._budget:
                    return
                yield leaf
                spent += price

    def _candidates(self) -> Iterator[Sequence[Leaf]]:
        """Yield the oldest prompt's leaves, then those of like length, nearest first."""
        if not self._branches:
            return
        oldest, leaves = next(iter(self._branches.items()))
        yield tuple(leaves)
        longest = max(leaf.length for leaf in leaves)
        slack = max(1, int(longest * LENGTH_SLACK))
        for length in sorted(range(longest - slack, longest + slack + 1), key=lambda length: abs(length - longest)):
            for branch in tuple(self._lengths.get(length, ())):
                if branch != oldest and branch[0] == oldest[0]:  # one batch is for one model
                    yield tuple(leaf for leaf in self._branches[branch] if leaf.length == length)


def _packed(ids: Ids) -> bytes:
    return array("i", ids).tobytes()


def trees(leaves: Sequence[Leaf]) -> list[tuple[TokenTree, list[Leaf]]]:
    """Return a batch as the engine takes it: a tree for each prompt, and the leaves in the tree's order."""
    branches: dict[Ids, list[Leaf]] = {}
    for leaf in leaves:
        branches.setdefault(leaf.prompt, []).append(leaf)
    return [
        (TokenTree(prompt, tuple(leaf.response for leaf in each), (False,) * len(each)), each)
        for prompt, each in branches.items()
    ]


def price(leaves: Sequence[Leaf]) -> int:
    """Return what a batch costs, in tokens that the engine computes."""
    seen: set[Branch] = set()
    total = 0
    for leaf in leaves:
        total += _price(leaf, first=leaf.branch not in seen)
        seen.add(leaf.branch)
    return total


def _price(leaf: Leaf, *, first: bool) -> int:
    """A shared prompt is computed once, for its first response; without sharing each row holds it."""
    prompt = len(leaf.prompt) if first or not leaf.model.engine.shares_prompts else 0
    return prompt + len(leaf.response)
