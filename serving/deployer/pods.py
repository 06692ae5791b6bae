"""What the pods of an InferenceService say, in two camps: the canary's and those in production."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from serving.deployer.service import VERSION_LABEL
from serving.deployer.watch import Judgement, Sample, Watch, judge, read_sample

PORT = 8080
TIMEOUT_SECONDS = 5.0
"""A pod that does not tell its numbers within this time is unwell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Both camps, and what is wrong with the canary's: `broken` for good, `unready` for now."""

    model: str
    canary: tuple[Sample, ...]
    stable: tuple[Sample, ...]
    broken: str
    unready: str

    def judge(self, watch: Watch, *, bundle: str, seconds: float) -> Judgement:
        """Judge the canary, which is to serve a bundle, and has been there for so many seconds."""
        if self.broken:
            return Judgement("fail", self.broken)
        for sample in self.canary:
            if sample.model != self.model or sample.bundle != bundle:
                return Judgement(
                    "fail", f"a pod serves {sample.model} with bundle {sample.bundle:.12}, not {bundle:.12}"
                )
        unready = self.unready or ("" if self.canary else "no pod is there")
        if not unready:
            return judge(watch, self.canary, self.stable, seconds=seconds)
        if seconds < watch.max_seconds:
            return Judgement("wait", unready)
        return Judgement("fail", f"{unready} after {seconds:.0f} s")


def observe(pods: Iterable[Mapping[str, Any]], client: httpx.Client, model: str, before: str) -> Seen:
    """Ask pods for their metrics.

    Args:
        pods: as the Kubernetes API lists them.
        client: asks them.
        model: `NAME/VERSION` of the canary.
        before: the version in production.
    """
    version = model.rpartition("/")[2]
    canary: list[Sample] = []
    stable: list[Sample] = []
    broken = unready = ""
    for pod in pods:
        of = pod["metadata"].get("labels", {}).get(VERSION_LABEL)
        if of not in (version, before):
            continue
        sample, why = _ask(pod, client)
        if of == version:
            broken = broken or _restarted(pod)
            unready = unready or why
        if sample:
            (canary if of == version else stable).append(sample)
    return Seen(model=model, canary=tuple(canary), stable=tuple(stable), broken=broken, unready=unready)


def _ask(pod: Mapping[str, Any], client: httpx.Client) -> tuple[Sample | None, str]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))
    address = status.get("podIP", "")
    if not ready or not address:
        return None, f"pod {name} is not ready"
    try:
        host = f"[{address}]" if ":" in address else address
        return read_sample(client.get(f"http://{host}:{PORT}/metrics").raise_for_status().text), ""
    except (httpx.HTTPError, ValueError) as error:
        return None, f"pod {name} does not tell its metrics: {error}"


def _restarted(pod: Mapping[str, Any]) -> str:
    """Return that a container has ended: what it had counted until then is gone."""
    for status in pod.get("status", {}).get("containerStatuses", []):
        if status.get("restartCount", 0):
            ended = status.get("lastState", {}).get("terminated", {})
            return (
                f"pod {pod['metadata']['name']} ended and was started again ({ended.get('reason', 'no reason given')})"
            )
    return ""
