"""Who may do what, and who may talk to whom."""

from collections.abc import Iterator
from typing import Any

from tests.manifests.manifests import Object, Rule, name_of, of_kind

NAMESPACE = "rewardlab"
LEVEL = "pod-security.kubernetes.io/enforce"
_OUTSIDE = ("Namespace", "ClusterRole", "ClusterRoleBinding", "ClusterTrainingRuntime")
_POWERS = {"bind", "escalate", "impersonate", "approve", "sign"}
_OTHERS = {"secrets", "pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token", "nodes/proxy"}
"""What lets one pod become another, or read what was given to it."""
_METADATA_SERVICE = "169.254.0.0/16"


def _roles(objects: list[Object]) -> Iterator[tuple[str, dict[str, list[str]]]]:
    for each in of_kind(objects, "Role", "ClusterRole"):
        for rule in each["rules"]:
            yield name_of(each), rule


def may_do_all(objects: list[Object]) -> Iterator[str]:
    """Yield roles with a wildcard."""
    return (name for name, rule in _roles(objects) if any("*" in words for words in rule.values()))


def may_become_others(objects: list[Object]) -> Iterator[str]:
    """Yield roles that hand out rights, or read secrets."""
    for name, rule in _roles(objects):
        if _POWERS & set(rule["verbs"]) or _OTHERS & set(rule.get("resources", [])):
            yield name


def writes_outside(objects: list[Object]) -> Iterator[str]:
    """Yield roles over the whole cluster that do more than read what is named."""
    for each in of_kind(objects, "ClusterRole"):
        if any(set(rule["verbs"]) - {"get", "list", "watch"} or "resourceNames" not in rule for rule in each["rules"]):
            yield name_of(each)


def bound_to_what_is_not_here(objects: list[Object]) -> Iterator[str]:
    """Yield bindings to a role that is not in these manifests, such as cluster-admin."""
    made = {name_of(each) for each in of_kind(objects, "Role", "ClusterRole")}
    for each in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        if f"{each['roleRef']['kind']}/{each['roleRef']['name']}" not in made:
            yield name_of(each)


def bound_to_many(objects: list[Object]) -> Iterator[str]:
    """Yield bindings of whom we do not know: groups, people, accounts of another namespace, everybody's own account."""
    for each in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        for subject in each["subjects"]:
            ours = subject["kind"] == "ServiceAccount" and subject.get("namespace") == NAMESPACE
            if not ours or subject["name"] == "default":
                yield name_of(each)


def holds_secrets(objects: list[Object]) -> Iterator[str]:
    """Yield objects with a secret's value: it would be in git."""
    yield from map(name_of, of_kind(objects, "Secret"))
    for each in of_kind(objects, "ConfigMap"):
        if any(word in key.lower() for key in each.get("data", {}) for word in ("password", "secret", "token", "-key")):
            yield name_of(each)


def is_elsewhere(objects: list[Object]) -> Iterator[str]:
    """Yield objects of another namespace."""
    for each in objects:
        if each["kind"] not in _OUTSIDE and each["metadata"].get("namespace") != NAMESPACE:
            yield name_of(each)


def is_not_restricted(objects: list[Object]) -> Iterator[str]:
    """Yield the namespace where it takes pods that pod security's restricted profile refuses."""
    made = {each["metadata"]["name"]: each["metadata"].get("labels", {}) for each in of_kind(objects, "Namespace")}
    if made.get(NAMESPACE, {}).get(LEVEL) != "restricted":
        yield f"Namespace/{NAMESPACE}"


def is_cut_off_from_kubeflow(objects: list[Object]) -> Iterator[str]:
    """Yield namespaces with a label of ours where Kubeflow says that they are a profile's, by which it lets them in."""
    for each in of_kind(objects, "Namespace"):
        if (
            each["metadata"].get("labels", {}).get("app.kubernetes.io/part-of", "kubeflow-profile")
            != "kubeflow-profile"
        ):
            yield name_of(each)


def is_not_denied(objects: list[Object]) -> Iterator[str]:
    """Yield the namespace where pods that no policy names may talk to anybody."""
    wanted = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if not any(each["spec"] == wanted for each in of_kind(objects, "NetworkPolicy")):
        yield f"Namespace/{NAMESPACE}"


def _peers(objects: list[Object]) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Yield each rule of each policy: whose it is, with whom, on which ports."""
    for each in of_kind(objects, "NetworkPolicy"):
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for rule in each["spec"].get(direction, []):
                yield f"{name_of(each)}, {direction}", rule.get(side, []), rule.get("ports", [])


def lets_all_in(objects: list[Object]) -> Iterator[str]:
    """Yield policies that let everybody talk, or the pods of every namespace."""
    for where, peers, _ in _peers(objects):
        if not peers or any(peer.get("namespaceSelector") == {} for peer in peers):
            yield where


def lets_out_on_all_ports(objects: list[Object]) -> Iterator[str]:
    """Yield policies that let pods reach addresses on any port."""
    for where, peers, ports in _peers(objects):
        if any("ipBlock" in peer for peer in peers) and not all("port" in port for port in ports or [{}]):
            yield where


def reaches_the_metadata_service(objects: list[Object]) -> Iterator[str]:
    """Yield policies that let pods reach what hands out a cloud's credentials."""
    for where, peers, _ in _peers(objects):
        blocks = [peer["ipBlock"] for peer in peers if "ipBlock" in peer]
        if any(block["cidr"] == "0.0.0.0/0" and _METADATA_SERVICE not in block.get("except", []) for block in blocks):
            yield where


def has_no_effect(objects: list[Object]) -> Iterator[str]:
    """Yield policies with rules of a direction that they do not name: nobody reads those."""
    for each in of_kind(objects, "NetworkPolicy"):
        named = {kind.lower() for kind in each["spec"].get("policyTypes", [])}
        if {"ingress", "egress"} & set(each["spec"]) - named:
            yield name_of(each)


ACCESS: dict[str, Rule] = {
    "a role may do anything": may_do_all,
    "a role reads secrets or becomes another": may_become_others,
    "a role of the whole cluster does more than read": writes_outside,
    "a binding gives a role that is not here": bound_to_what_is_not_here,
    "a binding is for whom we do not know": bound_to_many,
    "a secret is in git": holds_secrets,
    "an object is of another namespace": is_elsewhere,
    "the namespace is not restricted": is_not_restricted,
    "the namespace is cut off from Kubeflow": is_cut_off_from_kubeflow,
    "no policy denies by default": is_not_denied,
    "a policy lets everybody talk": lets_all_in,
    "a policy opens all ports": lets_out_on_all_ports,
    "a policy opens the cloud's metadata service": reaches_the_metadata_service,
    "a policy has rules without effect": has_no_effect,
}
