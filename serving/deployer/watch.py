"""Judge a canary by what its pods count: errors, latency, and how far its rewards are from the sealed reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client.parser import text_string_to_metric_families

from rewardlab.config import Config
from rewardlab.drift import LARGE_PSI

Answer = Literal["wait", "pass", "fail"]
_OURS = ("500", "504")
"""A request that failed by the model's or the server's fault; 429 and 503 say that there was too much work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch(Config):
    """What a canary must show, and within which time. Quantities are over all its pods since they started.

    A limit on the 99th percentile of the seconds a request takes is absolute, and as a ratio to the version in
    production where that has answered as many requests. `max_drift` is a population stability index.
    """

    min_seconds: float = 600.0
    max_seconds: float = 7200.0
    min_requests: int = 200
    min_rewards: int = 500
    max_failed_share: float = 0.01
    max_p99_seconds: float = 30.0
    max_p99_ratio: float = 2.0
    max_drift: float = LARGE_PSI
    percent: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.min_seconds < self.max_seconds or self.min_requests < 1 or self.min_rewards < 1:
            raise ValueError(f"a canary is watched for some time and some requests, got {self.to_json()}")
        if not 1 <= self.percent <= 50:
            raise ValueError(f"a canary gets 1 to 50 percent of the requests, got {self.percent}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What one pod says: label and bundle digest of the model it serves, and its counts since it started.

    `buckets` are (seconds, requests that took at most so long); `drift` is NaN where nothing was measured.
    """

    model: str
    bundle: str
    requests: float
    failed: float
    not_scored: float
    rewards: float
    drift: float
    buckets: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a canary passes, and why."""

    answer: Answer
    why: str


def read_sample(text: str) -> Sample:
    """Read a pod's metrics.

    Raises:
        ValueError: a metric that is judged by is not there.
    """
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    models = [labels for labels, value in found.get("rewardlab_model", []) if value == 1]
    for name in ("rewardlab_drift", "rewardlab_responses_total", "rewardlab_failed_responses_total"):
        if name not in found:
            raise ValueError(f"it has no metric {name}")
    if len(models) != 1:
        raise ValueError(f"it serves {len(models)} models")
    requests = found.get("rewardlab_requests_total", [])
    buckets: dict[float, float] = {}
    for labels, value in found.get("rewardlab_request_seconds_bucket", []):
        buckets[float(labels["le"])] = buckets.get(float(labels["le"]), 0.0) + value
    drift = found["rewardlab_drift"][0][1]
    return Sample(
        model=models[0]["model"],
        bundle=models[0].get("digest", ""),
        requests=sum(value for _, value in requests),
        failed=sum(value for labels, value in requests if labels["status"] in _OURS),
        not_scored=sum(value for _, value in found["rewardlab_failed_responses_total"]),
        rewards=found["rewardlab_responses_total"][0][1],
        drift=drift if drift else math.nan,  # exactly 0 is the gauge before it was set
        buckets=tuple(sorted(buckets.items())),
    )


def judge(watch: Watch, canary: Sequence[Sample], stable: Sequence[Sample], *, seconds: float) -> Judgement:
    """Judge a canary that has been there for so many seconds, by what its pods and those in production say.

    It fails as soon as that is certain, passes when it has shown enough, and fails when it has not in the time it has:
    what was not seen is no evidence.
    """
    requests = sum(pod.requests for pod in canary)
    failed = sum(pod.failed for pod in canary)
    if not_scored := sum(pod.not_scored for pod in canary):
        return Judgement("fail", f"{not_scored:g} responses were not scored, or their rewards are not finite")
    if failed > watch.max_failed_share * max(requests, watch.min_requests):
        return Judgement("fail", f"{failed:g} of {requests:g} requests failed, over {watch.max_failed_share:.1%}")
    lacking = _lacking(watch, canary, requests, seconds)
    if lacking and seconds < watch.max_seconds:
        return Judgement("wait", lacking)
    if lacking and not requests and any(pod.requests for pod in stable):
        return Judgement(
            "fail",
            f"no request has reached it in {seconds:.0f} s, and production has had some: no fault of the model. Does "
            "the gateway split requests? KServe does from 0.21 on",
        )
    if lacking:
        return Judgement("fail", f"{lacking} after {seconds:.0f} s")
    return _judge_shown(watch, canary, stable, requests)


def _lacking(watch: Watch, canary: Sequence[Sample], requests: float, seconds: float) -> str:
    """Return what has not been seen yet, or nothing."""
    rewards = max((pod.rewards for pod in canary), default=0.0)
    if requests < watch.min_requests:
        return f"{requests:g} of {watch.min_requests} requests have been seen"
    if rewards < watch.min_rewards:
        return f"{rewards:g} of {watch.min_rewards} rewards of one pod have been seen"
    return "" if seconds >= watch.min_seconds else f"{seconds:.0f} of {watch.min_seconds:.0f} s have gone by"


def _judge_shown(watch: Watch, canary: Sequence[Sample], stable: Sequence[Sample], requests: float) -> Judgement:
    measured = [pod.drift for pod in canary if pod.rewards >= watch.min_rewards]
    drift = max(measured, key=lambda each: math.inf if math.isnan(each) else each)
    if not drift < watch.max_drift:
        return Judgement("fail", f"rewards have drifted from the bundle's reference: PSI {drift:.3g}")
    p99 = quantile(canary, 0.99)
    if not p99 <= watch.max_p99_seconds:
        return Judgement("fail", f"1 request in 100 takes over {p99:.3g} s, the limit is {watch.max_p99_seconds:g} s")
    before = quantile(stable, 0.99)
    if sum(pod.requests for pod in stable) >= watch.min_requests and not p99 <= watch.max_p99_ratio * before:
        return Judgement("fail", f"1 request in 100 takes over {p99:.3g} s, and {before:.3g} s in production")
    return Judgement("pass", f"{requests:g} requests, p99 {p99:.3g} s, PSI {drift:.3g}")


def quantile(pods: Sequence[Sample], level: float) -> float:
    """Return a quantile of the seconds that requests took, straight between the ends of a bucket.

    As Prometheus' `histogram_quantile`, but infinite where it lies in the last bucket, and NaN where there is none.
    """
    totals: dict[float, float] = {}
    for pod in pods:
        for end, count in pod.buckets:
            totals[end] = totals.get(end, 0.0) + count
    ends = sorted(totals)
    if not ends or not totals[ends[-1]]:
        return math.nan
    rank, start, below = level * totals[ends[-1]], 0.0, 0.0
    for end in ends:
        if totals[end] >= rank:
            return end if math.isinf(end) else start + (end - start) * (rank - below) / (totals[end] - below)
        start, below = end, totals[end]
    return math.nan
