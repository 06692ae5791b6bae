"""The TrainJob of a training on several nodes, as a profile asks for it; the train step adds name and command."""

from collections.abc import Mapping, Sequence

from rewardlab.config import Config, canonical_json

RUNTIME = "rewardlab-torch"
"""The ClusterTrainingRuntime: its nodes run the container `node`, and all start again where one fails."""
_MANAGER = "rewardlab.io/profile"
_TMP = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 (the image's file system is read-only)
Variables = Sequence[Mapping[str, object]]


def variables(
    plain: Mapping[str, str], from_map: Mapping[str, str], config_map: str, secrets: Mapping[str, Mapping[str, str]]
) -> list[dict[str, object]]:
    """Return a container's variables: given values, and references to keys, which a namespace may lack.

    Args:
        plain: values by variable.
        from_map: keys of the config map by variable.
        config_map: its name.
        secrets: by name, variables by key.
    """
    found: list[dict[str, object]] = [{"name": name, "value": value} for name, value in plain.items()]
    for name, key in from_map.items():
        reference = {"name": config_map, "key": key, "optional": True}
        found.append({"name": name, "valueFrom": {"configMapKeyRef": reference}})
    for secret, keys in secrets.items():
        for key, name in keys.items():
            reference = {"name": secret, "key": key, "optional": True}
            found.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return found


def train_job(placement: Config, *, image: str, env: Variables, claim: str, state: str) -> str:
    """Return a TrainJob's spec without its command, as JSON.

    Args:
        placement: a `Placement` of several nodes.
        image: what the nodes run.
        env: their variables.
        claim: the volume claim that all nodes and the train step share.
        state: where it is mounted.
    """
    wanted = placement.to_dict()
    resources = {"cpu": wanted["cpu"], "memory": wanted["memory"]}
    if wanted["devices"]:
        resources[wanted["device"]] = str(wanted["devices"])
    trainer = {
        "image": image,
        "numNodes": wanted["nodes"],
        "resourcesPerNode": {"requests": resources, "limits": resources},
        "env": list(env),
    }
    pod = _pod(claim=claim, state=state, shared_memory=wanted["shared_memory"])
    if wanted["devices"]:
        pod["tolerations"] = [{"key": wanted["device"], "operator": "Exists", "effect": "NoSchedule"}]
    job = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
    patch = {"manager": _MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}
    return canonical_json(
        {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": RUNTIME},
            "activeDeadlineSeconds": wanted["seconds"],
            "trainer": trainer,
            "runtimePatches": [patch],
        }
    )


def _pod(*, claim: str, state: str, shared_memory: str) -> dict[str, object]:
    """Return what a node's pod has beside its container: volumes, a user without rights, time to keep its state."""
    memory = {"medium": "Memory", **({"sizeLimit": shared_memory} if shared_memory else {})}
    volumes = [
        {"name": "state", "persistentVolumeClaim": {"claimName": claim}},
        {"name": "shm", "emptyDir": memory},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts = [
        {"name": "state", "mountPath": state},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 (the mount that torch uses)
        _TMP,
    ]
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "securityContext": {
            "runAsUser": 10001,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 120,
        "volumes": volumes,
        "containers": [{"name": "node", "volumeMounts": mounts, "securityContext": rights}],
    }
