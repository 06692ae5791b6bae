"""What Prometheus sees: waiting, batches, rewards, and how far they have drifted from the bundle's reference."""

from collections import deque
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rewardlab.drift import drift
from serving.batches import Leaf, Outcome, Took, price
from serving.served import Served

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096)
RECENT = 4096
"""Rewards that drift is measured on."""
_REWARDS = tuple(step / 2 for step in range(-20, 21))


class Metrics:
    """The server's metrics in a registry of their own, so that one process may hold several servers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "rewardlab_requests", "Requests by dialect and status.", ["dialect", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "rewardlab_request_seconds",
            "Time from a request's head to its reply, by dialect.",
            ["dialect"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_tokens = Histogram(
            "rewardlab_batch_tokens", "Tokens of a batch.", buckets=_TOKENS, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "rewardlab_batch_seconds", "Time of a batch in the engine.", buckets=_SECONDS, registry=self.registry
        )
        self.rewards = Histogram("rewardlab_reward", "Rewards.", buckets=_REWARDS, registry=self.registry)
        self.queue_seconds = Gauge(
            "rewardlab_queue_seconds", "Work inside, in seconds at the measured speed.", registry=self.registry
        )
        self.held = Gauge("rewardlab_held_requests", "Requests held at the door.", registry=self.registry)
        self.swaps = Counter("rewardlab_swaps", "Models that took another's place.", registry=self.registry)
        self.follow_problem = Gauge(
            "rewardlab_follow_problem", "1 while the alias names a version that is not served.", registry=self.registry
        )
        self.model = Gauge("rewardlab_model", "1 for the model in service.", ["model"], registry=self.registry)
        self.truncated = Counter(
            "rewardlab_truncated_responses", "Responses that were read in part.", registry=self.registry
        )
        self.tokens = Counter("rewardlab_tokens", "Tokens of the responses and prompts scored.", registry=self.registry)
        self.drift = Gauge(
            "rewardlab_drift",
            f"Population stability index of the last {RECENT} rewards against the bundle's reference; 0.25 is large.",
            registry=self.registry,
        )
        self.rows = Counter("rewardlab_responses", "Responses scored.", registry=self.registry)
        self.prefix_hits = Counter(
            "rewardlab_prefix_hits", "Prompts that the engine found read already.", registry=self.registry
        )
        self.prefix_misses = Counter(
            "rewardlab_prefix_misses", "Prompts that the engine had to read.", registry=self.registry
        )
        self.engine_tokens = Counter(
            "rewardlab_engine_tokens",
            "Tokens that the engine read; a shared prompt counts once.",
            registry=self.registry,
        )
        self.engine_padded_tokens = Counter(
            "rewardlab_engine_padded_tokens",
            "Tokens that the engine computed, padding included.",
            registry=self.registry,
        )
        self.engine_cpu_seconds = Counter(
            "rewardlab_engine_cpu_seconds", "CPU time of the engine's threads in batches.", registry=self.registry
        )
        self._counted: WeakKeyDictionary[Served, tuple[int, ...]] = WeakKeyDictionary()
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._recent_of: Served | None = None
        self.failures = Counter(
            "rewardlab_failed_responses",
            "Responses that the engine failed on: not_finite, or error.",
            ["kind"],
            registry=self.registry,
        )
        for kind in ("not_finite", "error"):
            self.failures.labels(kind)

    def request(self, dialect: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self.requests.labels(dialect, str(status)).inc()
        self.seconds.labels(dialect).observe(seconds)

    def text(self) -> bytes:
        """Return the metrics as Prometheus reads them."""
        reference = self._recent_of and self._recent_of.engine.bundle.calibration.reference
        if reference and reference.num and (found := drift(list(self._recent), reference)):
            self.drift.set(found.psi)
        return generate_latest(self.registry)

    def batch(self, batch: Sequence[Leaf], outcomes: Sequence[Outcome], took: Took) -> None:
        """Count a batch and what came of it."""
        self.batch_tokens.observe(price(batch))
        self.batch_seconds.observe(took.seconds)
        self.engine_cpu_seconds.inc(took.cpu_seconds)
        self.rows.inc(len(batch))
        self._count_engine(batch[0].served)
        if self._recent_of is not batch[0].served:  # another model's rewards say nothing about this one's
            self._recent.clear()
            self._recent_of = batch[0].served
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                self.failures.labels("not_finite" if isinstance(outcome, ArithmeticError) else "error").inc()
            else:
                self.rewards.observe(outcome[0])
                self._recent.append(outcome[0])

    def _count_engine(self, served: Served) -> None:
        """Add what the engine counted since it was asked last; in a swap batches of two models alternate."""
        engine = served.engine
        now = (engine.num_prompt_hits, engine.num_prompt_misses, engine.num_tokens, engine.num_padded_tokens)
        counters = (self.prefix_hits, self.prefix_misses, self.engine_tokens, self.engine_padded_tokens)
        for counter, total, before in zip(counters, now, self._counted.get(served, (0, 0, 0, 0)), strict=True):
            counter.inc(total - before)
        self._counted[served] = now
