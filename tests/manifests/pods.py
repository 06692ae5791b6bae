"""Pods: what the restricted profile of Kubernetes' pod security asks for, and what it does not ask for and we do."""

import re
from collections.abc import Callable, Iterator
from functools import partial

from tests.manifests.manifests import Object, Pod, Rule, pods

IMAGES = ("rewardlab-python", "rewardlab-serve", "rewardlab-serve-gpu", "postgres", "minio")
"""What may run here, from whichever registry an overlay names."""
_SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|CREDENTIAL|ACCESS_KEY|PRIVATE_KEY|SESSION_KEY")
_SIGNED_IN = re.compile(r"://[^/\s:@]+:[^/\s@]+@|--(password|secret|token)[= ]")
_HOST = ("hostNetwork", "hostPID", "hostIPC")


def _of_pods(holds: Callable[[Pod], bool], objects: list[Object]) -> Iterator[str]:
    return (pod.owner for pod in pods(objects) if not holds(pod))


def _of_containers(holds: Callable[[Object, Object], bool], objects: list[Object]) -> Iterator[str]:
    """Yield containers that break a rule of (container, security context), the pod's under the container's own."""
    for pod in pods(objects):
        for where, each in pod.containers:
            if not holds(each, {**pod.spec.get("securityContext", {}), **each.get("securityContext", {})}):
                yield where


def _of_servers(holds: Callable[[Object], bool], objects: list[Object]) -> Iterator[str]:
    """Yield the containers that answer somebody, and break a rule."""
    for pod in pods(objects):
        for each in pod.spec["containers"] if pod.serves else ():
            if not holds(each):
                yield f"{pod.owner}, container {each['name']}"


def _is_pinned(each: Object, _: Object) -> bool:
    name, _, digest = each.get("image", "").partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return digest.startswith("sha256:") or tag not in ("", "latest")


def _is_known(each: Object, _: Object) -> bool:
    return each.get("image", "").partition("@")[0].rpartition("/")[2].partition(":")[0] in IMAGES


def _is_whole_user(_: Object, security: Object) -> bool:
    return security.get("runAsNonRoot") is True and security.get("runAsUser", 1) != 0


def _gives_no_secret(each: Object, _: Object) -> bool:
    written = [entry for entry in each.get("env", []) if "value" in entry]
    texts = [*each.get("command", []), *each.get("args", []), *(entry["value"] for entry in written)]
    return not any(_SECRET.search(entry["name"]) for entry in written) and not any(map(_SIGNED_IN.search, texts))


def _has(kind: str, quantity: str, each: Object, _: Object) -> bool:
    return quantity in each.get("resources", {}).get(kind, {})


def _memory_is_promised(each: Object, _: Object) -> bool:
    resources = each.get("resources", {})
    return bool(resources.get("requests", {}).get("memory") == resources.get("limits", {}).get("memory"))


def _needs_its_token(pod: Pod) -> bool:
    """Say whether a pod either has no token of the API server, or a service account of its own to use it as."""
    return pod.spec.get("automountServiceAccountToken") is False or "serviceAccountName" in pod.spec


def _ends_in_time(each: Pod) -> bool:
    """Say whether a pod that waits before it ends has time for that, and for the 25 s that a server gives its work."""
    waits = [
        container["lifecycle"]["preStop"]["sleep"]["seconds"]
        for _, container in each.containers
        if "lifecycle" in container
    ]
    return not waits or bool(each.spec.get("terminationGracePeriodSeconds", 30) > max(waits) + 25)


def _has_no_sidecar(pod: Pod) -> bool:
    """Say whether Istio leaves a pod alone: its proxy has no way out here, and keeps a training's pods from ending."""
    wanted = {"sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none"}
    return wanted.items() <= dict(pod.labels).items()


def _volumes(pod: Pod, kind: str) -> list[Object]:
    return [each[kind] for each in pod.spec.get("volumes", []) if kind in each]


PODS: dict[str, Rule] = {
    "a pod shares the host's network or processes": partial(
        _of_pods, lambda pod: not any(pod.spec.get(each) for each in _HOST)
    ),
    "a pod sees the host's files": partial(_of_pods, lambda pod: not _volumes(pod, "hostPath")),
    "a pod's scratch has no limit": partial(
        _of_pods, lambda pod: all("sizeLimit" in each for each in _volumes(pod, "emptyDir"))
    ),
    "a pod holds a token that nobody gave rights to": partial(_of_pods, _needs_its_token),
    "a pod is ended before its work": partial(_of_pods, _ends_in_time),
    "a pod gets a sidecar": partial(_of_pods, _has_no_sidecar),
    "a container may run as root": partial(_of_containers, _is_whole_user),
    "a container is privileged": partial(_of_containers, lambda _, security: not security.get("privileged")),
    "a container may gain privileges": partial(
        _of_containers, lambda _, security: security.get("allowPrivilegeEscalation") is False
    ),
    "a container keeps capabilities": partial(
        _of_containers, lambda _, security: security.get("capabilities") == {"drop": ["ALL"]}
    ),
    "a root file system is writable": partial(
        _of_containers, lambda _, security: security.get("readOnlyRootFilesystem") is True
    ),
    "a container may make any system call": partial(
        _of_containers, lambda _, security: security.get("seccompProfile") == {"type": "RuntimeDefault"}
    ),
    "a container takes a port of the host": partial(
        _of_containers, lambda each, _: not any("hostPort" in port for port in each.get("ports", []))
    ),
    "a container has no limit of memory": partial(_of_containers, partial(_has, "limits", "memory")),
    "a container has no limit of processors": partial(_of_containers, partial(_has, "limits", "cpu")),
    "a container asks for no processor": partial(_of_containers, partial(_has, "requests", "cpu")),
    "a container may be ended for another's memory": partial(_of_containers, _memory_is_promised),
    "an image is not pinned": partial(_of_containers, _is_pinned),
    "an image is not one of ours": partial(_of_containers, _is_known),
    "a secret is written out": partial(_of_containers, _gives_no_secret),
    "nobody asks a server whether it is ready": partial(_of_servers, lambda each: "readinessProbe" in each),
    "nobody asks a server whether it is alive": partial(_of_servers, lambda each: "livenessProbe" in each),
}
