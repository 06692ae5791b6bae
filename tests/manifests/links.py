"""What refers to another object finds it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.manifests.manifests import Object, Pod, Rule, name_of, of_kind, pods, templates

KUBEFLOWS_ACCOUNTS = {"default-editor"}
"""Accounts that Kubeflow makes in the namespace of a profile."""


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Say whether a selector of labels alone selects what has these."""
    return all(labels.get(key) == value for key, value in selector.items())


def keys_that_are_not_there(objects: list[Object]) -> Iterator[str]:
    """Yield containers that read a key which no config map has."""
    data = {each["metadata"]["name"]: each.get("data", {}) for each in of_kind(objects, "ConfigMap")}
    for pod in pods(objects):
        for where, each in pod.containers:
            for entry in each.get("env", []):
                wanted = entry.get("valueFrom", {}).get("configMapKeyRef")
                if wanted and wanted["key"] not in data.get(wanted["name"], {}):
                    yield f"{where}: {wanted['name']}/{wanted['key']}"


def volumes_that_are_not_there(objects: list[Object]) -> Iterator[str]:
    """Yield pods whose volumes are of a claim or config map that is not here, and mounts of no volume."""
    claims = {each["metadata"]["name"] for each in of_kind(objects, "PersistentVolumeClaim")}
    maps = {each["metadata"]["name"] for each in of_kind(objects, "ConfigMap")}
    own = {
        name_of(each): {claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", [])}
        for each in of_kind(objects, "StatefulSet")
    }
    for pod in pods(objects):
        volumes = pod.spec.get("volumes", [])
        lacking = [each["name"] for each in volumes if not _is_here(each, claims, maps)]
        there = {each["name"] for each in volumes} | own.get(pod.owner, set())
        mounts = {mount["name"] for _, each in pod.containers for mount in each.get("volumeMounts", [])}
        if lacking or mounts - there:
            yield f"{pod.owner}: {', '.join([*lacking, *sorted(mounts - there)])}"


def _is_here(volume: Object, claims: set[str], maps: set[str]) -> bool:
    claim, of_map = volume.get("persistentVolumeClaim"), volume.get("configMap")
    return (claim is None or claim["claimName"] in claims) and (of_map is None or of_map["name"] in maps)


def accounts_that_are_not_there(objects: list[Object]) -> Iterator[str]:
    """Yield pods and bindings of a service account that is not here."""
    made = {each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")} | KUBEFLOWS_ACCOUNTS
    for pod in pods(objects):
        if pod.spec.get("serviceAccountName") not in made | {None}:
            yield pod.owner
    for each in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        if any(subject["name"] not in made for subject in each["subjects"]):
            yield name_of(each)


def runtimes_that_are_not_there(objects: list[Object]) -> Iterator[str]:
    """Yield InferenceServices of a runtime that is not here or serves another format, and runtimes of none."""
    runtimes = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "ServingRuntime")}
    wanted = {each["metadata"]["name"]: each["spec"]["predictor"].get("model", {}) for each in templates(objects)}
    for name, model in wanted.items():
        formats = runtimes.get(model.get("runtime"), {}).get("supportedModelFormats", [])
        if not any(each["name"] == model.get("modelFormat", {}).get("name") for each in formats):
            yield f"InferenceService/{name}"
    for name in runtimes.keys() - {model.get("runtime") for model in wanted.values()}:
        yield f"ServingRuntime/{name}"


def selectors_of_nothing(objects: list[Object]) -> Iterator[str]:
    """Yield what selects pods by their labels, and selects none."""
    made = list(pods(objects))
    for each in of_kind(objects, "Service"):
        chosen = [pod for pod in made if selects(each["spec"]["selector"], pod.labels)]
        if not all(_ports(chosen, port["targetPort"]) for port in each["spec"]["ports"]):
            yield name_of(each)
    for each in of_kind(objects, "PodDisruptionBudget", "Deployment", "StatefulSet"):
        wanted = each["spec"]["selector"]["matchLabels"]
        if not any(selects(wanted, pod.labels) and _may_own(each, pod) for pod in made):
            yield name_of(each)
    for each in of_kind(objects, "ServiceMonitor"):
        chosen_services = [
            service
            for service in of_kind(objects, "Service")
            if selects(each["spec"]["selector"]["matchLabels"], service["metadata"].get("labels", {}))
        ]
        ports = {port["name"] for service in chosen_services for port in service["spec"]["ports"]}
        if not ports or any(endpoint["port"] not in ports for endpoint in each["spec"]["endpoints"]):
            yield name_of(each)


def _may_own(each: Object, pod: Pod) -> bool:
    return each["kind"] == "PodDisruptionBudget" or pod.owner == name_of(each)


def _ports(chosen: Iterable[Pod], wanted: str | int) -> bool:
    """Say whether there are pods, and each has the port, by name or number."""
    found = [
        {port[key] for _, each in pod.containers for port in each.get("ports", []) for key in ("name", "containerPort")}
        for pod in chosen
    ]
    return bool(found) and all(wanted in ports for ports in found)


LINKS: dict[str, Rule] = {
    "a variable's key is in no config map": keys_that_are_not_there,
    "a volume is not there": volumes_that_are_not_there,
    "an account is not there": accounts_that_are_not_there,
    "a runtime is not there, or of no use": runtimes_that_are_not_there,
    "a selector selects nothing": selectors_of_nothing,
}
