"""The InferenceService: what a version adds to the template, and what stands in an object of the cluster."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from rewardlab.config import Config

Object = dict[str, Any]

GROUP, PLURAL = "serving.kserve.io/v1beta1", "inferenceservices"
VERSION_LABEL = "rewardlab.io/version"
"""On every pod: the version that it was started with."""
CANARY, REFUSED = "rewardlab.io/canary", "rewardlab.io/refused"
"""Annotations: the try that is on, and the last one that failed."""
_NOT_SCALED = {"serving.kserve.io/autoscalerClass": "none"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned(Config):
    """A version and where KServe finds the files of its bundle."""

    name: str
    version: str
    bundle: str
    uri: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Try(Config):
    """A canary: the promotion log's entry that it is for, and since when it is there, in seconds of the epoch."""

    entry: str
    since: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal(Config):
    """Why the version of an entry of the promotion log does not go into production."""

    entry: str
    version: str
    why: str
    at: str


def check_template(template: Mapping[str, Any]) -> None:
    """Refuse a template that KServe would not split traffic for.

    Raises:
        ValueError: it is no InferenceService in Standard mode with a model, or it sets what the deployer sets.
    """
    annotations = template.get("metadata", {}).get("annotations", {})
    if template.get("kind") != "InferenceService" or template.get("apiVersion") != GROUP:
        raise ValueError(f"the template is an InferenceService of {GROUP}, got {template.get('kind')!r}")
    if annotations.get("serving.kserve.io/deploymentMode") != "Standard":
        raise ValueError(
            "the template's annotation serving.kserve.io/deploymentMode is Standard: others know no canary"
        )
    predictor = template.get("spec", {}).get("predictor", {})
    if "model" not in predictor:
        raise ValueError("the template's predictor has a model: KServe splits no traffic for a bare container")
    if "canary" in template["spec"] or "name" in predictor or "storageUri" in predictor["model"]:
        raise ValueError(
            "the deployer sets canary, the predictor's name and storageUri: leave them out of the template"
        )


def service(template: Object, pinned: Pinned, namespace: str) -> Object:
    """Return the object to create: one version, no canary."""
    made = deepcopy(template)
    made["metadata"]["namespace"] = namespace
    made["spec"]["predictor"] = predictor(template, pinned)
    return made


def predictor(template: Object, pinned: Pinned) -> Object:
    """Return the predictor that serves a version in production.

    Its name is the version's, so that KServe goes on with the canary's pods when a canary is promoted.
    """
    made: Object = deepcopy(template["spec"]["predictor"])
    return made | _of_version(template, pinned)


def canary(template: Object, pinned: Pinned, *, percent: int) -> Object:
    """Return the canary that serves a version to some of the requests; what it leaves out is the stable predictor's.

    It is not scaled: KServe takes a canary's metrics away, and KEDA refuses an object without any.
    """
    annotations = {**template["spec"]["predictor"].get("annotations", {}), **_NOT_SCALED}
    made = {"minReplicas": 1, "annotations": annotations} | _of_version(template, pinned)
    return {"trafficPercent": percent, "predictor": made}


def _of_version(template: Object, pinned: Pinned) -> Object:
    before = template["spec"]["predictor"]
    arguments = [*before["model"].get("args", []), f"--name={pinned.name}", f"--version={pinned.version}"]
    return {
        "name": f"v{pinned.version}",
        "labels": {**before.get("labels", {}), VERSION_LABEL: pinned.version},
        "model": {**deepcopy(before["model"]), "storageUri": pinned.uri, "args": arguments},
    }


def holds(found: Any, wanted: Any) -> bool:
    """Say whether an object has all that is wanted; the cluster adds defaults of its own, but none to a list.

    Example:
        >>> holds({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 2}})
        True
    """
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(key in found and holds(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(holds, found, wanted))
    return bool(found == wanted)


def canaries(found: Object) -> list[Object]:
    """Return the canaries of an object."""
    return found["spec"].get("canary") or []


def noted(found: Object, key: str) -> str:
    """Return an annotation, or nothing."""
    return str(found["metadata"].get("annotations", {}).get(key, ""))


def change(found: Object, spec: Object, annotations: Mapping[str, str | None]) -> Object:
    """Return a merge patch that is refused if the object has been changed since it was read."""
    version = found["metadata"]["resourceVersion"]
    return {"metadata": {"resourceVersion": version, "annotations": dict(annotations)}, "spec": spec}
