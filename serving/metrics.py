"""What Prometheus sees: waiting, batches, rewards, and how far they have drifted from the bundle's reference."""

from collections import deque
from collections.abc import Sequence
from functools import cache, partial
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rewardlab.drift import drift
from serving.loaded_model import LoadedModel
from serving.queue import BatchCost, Leaf, Outcome

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096)
RECENT = 4096
"""Rewards that drift is measured on."""
_REWARDS = tuple(step / 2 for step in range(-20, 21))


class Metrics:
    """The server's metrics in a registry of their own, so that one process may hold several servers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        counter = partial(Counter, namespace="rewardlab", registry=self.registry)
        gauge = partial(Gauge, namespace="rewardlab", registry=self.registry)
        histogram = partial(Histogram, namespace="rewardlab", registry=self.registry)

        # The label with a protocol's name stays `dialect`: dashboards, alert rules, autoscalers and the judgement of a
        # canary read it, here and at every user's.
        self.requests = counter("requests", "Requests by protocol and status.", ("dialect", "status"))
        about = "Time from a request's head to its reply, by protocol."
        self.seconds = histogram("request_seconds", about, ("dialect",), buckets=_SECONDS)
        self.batch_tokens = histogram("batch_tokens", "Tokens of a batch.", buckets=_TOKENS)
        self.batch_seconds = histogram("batch_seconds", "Time of a batch in the engine.", buckets=_SECONDS)
        self.rewards = histogram("reward", "Rewards.", buckets=_REWARDS)
        self.queue_seconds = gauge("queue_seconds", "Work inside, in seconds at the measured speed.")
        self.held = gauge("held_requests", "Requests that wait for admission.")
        self.swaps = counter("swaps", "Models that took another's place.")
        self.follow_problem = gauge("follow_problem", "1 while the alias names a version that is not served.")
        self.model = gauge("model", "1 for the model in service.", ("model", "digest"))
        self.truncated = counter("truncated_responses", "Responses that were read in part.")
        self.tokens = counter("tokens", "Tokens of the responses and prompts scored.")
        about = "Population stability index of the last {} rewards against the bundle's reference; 0.25 is large."
        self.drift = gauge("drift", about.format(RECENT))
        self.rows = counter("responses", "Responses scored.")
        self.prefix_hits = counter("prefix_hits", "Prompts that the engine found read already.")
        self.prefix_misses = counter("prefix_misses", "Prompts that the engine had to read.")
        self.engine_tokens = counter("engine_tokens", "Tokens that the engine read; a shared prompt counts once.")
        self.engine_padded_tokens = counter(
            "engine_padded_tokens", "Tokens that the engine computed, padding included."
        )
        self.engine_cpu_seconds = counter("engine_cpu_seconds", "CPU time of the engine's threads in batches.")
        self.tokenizing_cpu_seconds = counter("tokenizing_cpu_seconds", "CPU time of the tokenizers' threads.")
        self.failures = counter(
            "failed_responses", "Responses that the engine failed on: not_finite, or error.", ("kind",)
        )
        for kind in ("not_finite", "error"):
            self.failures.labels(kind)
        self._answered = cache(lambda protocol, status: self.requests.labels(protocol, str(status)))
        self._waited = cache(self.seconds.labels)
        self._counted: WeakKeyDictionary[LoadedModel, tuple[int, ...]] = WeakKeyDictionary()
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._recent_of: LoadedModel | None = None

    def request(self, protocol: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self._answered(protocol, status).inc()
        self._waited(protocol).observe(seconds)

    def text(self) -> bytes:
        """Return the metrics as Prometheus reads them."""
        reference = self._recent_of and self._recent_of.engine.bundle.calibration.reference
        if reference and reference.num and (found := drift(list(self._recent), reference)):
            self.drift.set(found.psi)
        return generate_latest(self.registry)

    def batch(self, batch: Sequence[Leaf], outcomes: Sequence[Outcome], cost: BatchCost) -> None:
        """Count a batch and what came of it."""
        self.batch_tokens.observe(cost.tokens)
        self.batch_seconds.observe(cost.seconds)
        self.engine_cpu_seconds.inc(cost.cpu_seconds)
        self.rows.inc(len(batch))
        self._count_engine(batch[0].model)
        if self._recent_of is not batch[0].model:  # another model's rewards say nothing about this one's
            self._recent.clear()
            self._recent_of = batch[0].model
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                self.failures.labels("not_finite" if isinstance(outcome, ArithmeticError) else "error").inc()
            else:
                self.rewards.observe(outcome[0])
                self._recent.append(outcome[0])

    def _count_engine(self, model: LoadedModel) -> None:
        """Add what the engine counted since it was asked last; in a swap batches of two models alternate."""
        engine = model.engine
        now = (engine.num_prompt_hits, engine.num_prompt_misses, engine.num_tokens, engine.num_padded_tokens)
        counters = (self.prefix_hits, self.prefix_misses, self.engine_tokens, self.engine_padded_tokens)
        for counter, total, before in zip(counters, now, self._counted.get(model, (0, 0, 0, 0)), strict=True):
            counter.inc(total - before)
        self._counted[model] = now
