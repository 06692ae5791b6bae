"""From a request's groups to their scores: admission, tokenizers, the engine's loop."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from rewardlab.tokens import TokenTree
from serving.admission import Admission, OverloadPolicy, Throughput
from serving.limits import Limits, unavailable
from serving.loaded_model import Item, LoadedModel
from serving.logs import log
from serving.loop import EngineLoop
from serving.metrics import Metrics
from serving.queue import BatchCost, Leaf, Outcome
from serving.tokenization import Tokenized, TokenizerThreads

_ENDING = "the server is shutting down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What became of one item: a reward for each response, or in `errors` the reason why there is none.

    `literal`: a marker of the template stands in what somebody wrote, so that another reading would be possible.
    """

    model: LoadedModel
    rewards: tuple[float | None, ...]
    aspects: Mapping[str, tuple[float | None, ...]]
    truncated: tuple[bool, ...]
    num_tokens: tuple[int, ...]
    errors: Mapping[int, Exception]
    literal: bool = False


class Scorer:
    """Scores groups with the model in service, and says how it is doing.

    It is ready once the bundle's golden texts have been scored as they were sealed.
    """

    def __init__(self, model: LoadedModel, limits: Limits, *, threads: int = 1) -> None:
        self.model = model
        self.limits = limits
        self._threads = threads
        self.metrics = Metrics()
        self.loop = EngineLoop(threads, self._learn)
        self.admission = Admission(limits, Throughput(threads), lambda: self.loop.outstanding)
        self.follow_problem: str | None = None
        self._why_not: str | None = "the golden texts have not been scored yet"
        self._tokenizers = TokenizerThreads(self.metrics.tokenizing_cpu_seconds.inc)

    @property
    def not_ready(self) -> str | None:
        """Return why there are no rewards at present; None when there are."""
        return self._why_not or self.loop.dead

    async def start(self) -> None:
        """Score the golden texts, then be ready; if they differ, say so and never be ready."""
        self.loop.start()
        self._tokenizers.start()
        try:
            await asyncio.to_thread(self.model.engine.check_golden, parallel=self._threads)
        except Exception as error:  # whatever the reason, this server must not score
            self._why_not = f"the golden check failed: {error}"
            log.error("not ready: %s", self._why_not)
        else:
            self._why_not = None

    def swap(self, model: LoadedModel) -> str:
        """Score what comes from here on with another model, and return the label of the one before.

        What has been taken on is scored by the model that it was read for.
        """
        before, self.model = self.model, model
        self.metrics.swaps.inc()
        return before.label

    def close_admission(self) -> None:
        """Hold nobody any more; who finds room is still scored."""
        self.admission.close(_ENDING)

    def stop(self) -> None:
        """Take on nothing more, and end the threads once their batches are done."""
        self._why_not = _ENDING
        self.close_admission()
        self.loop.stop()
        self._tokenizers.stop()

    async def score(self, items: Sequence[Item], policy: OverloadPolicy) -> list[Scored]:
        """Score groups and texts; one that cannot be scored takes no other with it.

        Raises:
            HTTPException: there will be no rewards in the time that the protocol's clients wait.
        """
        if self.not_ready:
            raise unavailable(self.not_ready)
        num_bytes = sum(item.num_bytes for item in items)
        async with self.admission.admit(num_bytes, policy):
            model = self.model
            read = await self._tokenizers.tokenize(model, items, num_bytes)
            trees = [each[0] for each in read if isinstance(each, tuple)]
            sequences = [(tree.prompt, ids) for tree in trees for ids in tree.responses]
            self.admission.throughput.read(num_bytes, sum(len(ids) for sequence in sequences for ids in sequence))
            pending = self.loop.submit(model, sequences)
        try:
            await pending.done
        except asyncio.CancelledError:
            self.loop.abandon(pending)
            self.admission.admit_waiting()
            raise
        self._count(trees)
        outcomes = iter(pending.outcomes)
        return [_scored(model, item, each, outcomes) for item, each in zip(items, read, strict=True)]

    def _count(self, trees: Sequence[TokenTree]) -> None:
        self.metrics.tokens.inc(sum(len(tree.prompt) + sum(map(len, tree.responses)) for tree in trees))
        if truncated := sum(sum(tree.truncated) for tree in trees):
            self.metrics.truncated.inc(truncated)

    def measured(self) -> bytes:
        """Return the metrics as Prometheus reads them."""
        self.metrics.queue_seconds.set(self.admission.seconds())
        self.metrics.held.set(self.admission.num_held)
        self.metrics.follow_problem.set(self.follow_problem is not None)
        self.metrics.model.clear()
        self.metrics.model.labels(self.model.label, self.model.digest).set(1)
        return self.metrics.text()

    def _learn(self, batch: Sequence[Leaf], outcomes: Sequence[Outcome], cost: BatchCost) -> None:
        self.admission.throughput.computed(cost.tokens, cost.seconds)
        self.admission.admit_waiting()
        self.metrics.batch(batch, outcomes, cost)


def _scored(model: LoadedModel, item: Item, read: Tokenized, outcomes: Iterator[Outcome | None]) -> Scored:
    if isinstance(read, ValueError):
        count = len(item.responses)
        return Scored(
            model=model,
            rewards=(None,) * count,
            aspects={},
            truncated=(False,) * count,
            num_tokens=(0,) * count,
            errors=dict.fromkeys(range(count), read),
        )
    tree, literal = read
    mine = [next(outcomes) for _ in tree.responses]
    values = [None if outcome is None or isinstance(outcome, Exception) else outcome for outcome in mine]
    names = next((value[1].keys() for value in values if value), ())
    return Scored(
        model=model,
        rewards=tuple(value[0] if value else None for value in values),
        aspects={name: tuple(value[1][name] if value else None for value in values) for name in names},
        truncated=tree.truncated,
        num_tokens=tuple(len(tree.sequence(index)) for index in range(len(mine))),
        errors={index: outcome for index, outcome in enumerate(mine) if isinstance(outcome, Exception)},
        literal=literal,
    )


def rewards(scored: Scored, where: str = "responses") -> list[float]:
    """Return one reward for each response.

    Raises:
        ValueError: a response cannot be scored; the message names each such response.
        HTTPException: 500, the model returned no reward for one.
    """
    if scored.errors:
        raise failure([(f"{where}[{index}]", error) for index, error in scored.errors.items()])
    return [reward for reward in scored.rewards if reward is not None]


def each_reward(scored: Sequence[Scored], where: str) -> list[float]:
    """Return the one reward of each item.

    Raises:
        ValueError, HTTPException: as `rewards`, for all items that failed.
    """
    errors = [(f"{where}[{index}]", error) for index, item in enumerate(scored) for error in item.errors.values()]
    if errors:
        raise failure(errors)
    return [reward for item in scored for reward in item.rewards if reward is not None]


def failure(errors: Sequence[tuple[str, Exception]]) -> Exception:
    """Return the error that names each item that failed."""
    reasons = "; ".join(f"{where}: {reason(error)}" for where, error in errors)
    bad_input = all(isinstance(error, ValueError) for _, error in errors)
    return ValueError(reasons) if bad_input else HTTPException(500, reasons)


def reason(error: Exception) -> str:
    """Return the reason that a client reads. What the engine raised stays in the log."""
    if isinstance(error, ValueError):
        return str(error)
    return f"a reward is not finite: {error}" if isinstance(error, ArithmeticError) else "the engine failed on it"
