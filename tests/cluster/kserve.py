"""What KServe's webhook refuses of an InferenceService, and what KEDA refuses of what KServe makes of it."""

from typing import Any

Object = dict[str, Any]
_CLASS = "serving.kserve.io/autoscalerClass"


def inadmissible(wanted: Object, before: Object | None = None) -> str:
    """Return why an object, or a change of one, would be refused, or nothing."""
    spec = wanted["spec"]
    stable, canaries = spec["predictor"], spec.get("canary") or []
    annotations = wanted["metadata"].get("annotations", {})
    refusals = (
        _targets(stable),
        _canaries(stable, canaries, annotations),
        *(_scaler(each["predictor"], annotations) for each in canaries),
        _renamed(stable, before["spec"]["predictor"]) if before else "",
    )
    return next(filter(None, refusals), "")


def _targets(stable: Object) -> str:
    """Return what is wrong with what scales the stable predictor."""
    for metric in stable.get("autoScaling", {}).get("metrics", []):
        source = metric.get("external") or metric.get("podmetric") or {}
        if source and source.get("target", {}).get("value") is None:
            return "the target threshold value should not be empty"
    return ""


def _canaries(stable: Object, canaries: list[Object], annotations: Object) -> str:  # noqa: PLR0911 (one a rule)
    names = [each["predictor"].get("name") for each in canaries]
    if canaries and annotations.get("serving.kserve.io/deploymentMode") != "Standard":
        return "canary is only supported in Standard deployment mode"
    if canaries and "model" not in stable:
        return "canary requires a stable predictor with a model"
    if not all(names):
        return "canary predictor.name is required"
    if len({*names, stable.get("name")}) != len(names) + 1:
        return "canary predictor.name is duplicated or conflicts with stable"
    if sum(each["trafficPercent"] for each in canaries) > 100:
        return "the sum of trafficPercent must be <= 100"
    for each in canaries:
        if {"maxReplicas", "autoScaling", "scaleTarget", "workerSpec"} & set(each["predictor"]):
            return "canary must not set maxReplicas"
        if each["predictor"].get("minReplicas", 0) > stable.get("minReplicas", 1):
            return "canary minReplicas must not exceed stable"
    return ""


def _scaler(canary: Object, annotations: Object) -> str:
    """Return why KEDA refuses the ScaledObject of a canary, from which KServe has taken all metrics."""
    scaled_by = canary.get("annotations", {}).get(_CLASS, annotations.get(_CLASS))
    return "no triggers defined in the ScaledObject/ScaledJob" if scaled_by == "keda" else ""


def _renamed(stable: Object, before: Object) -> str:
    if stable.get("name") != before.get("name") and stable["model"].get("storageUri") == before["model"].get(
        "storageUri"
    ):
        return "predictor.name change requires a model change"
    return ""
