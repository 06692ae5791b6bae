"""kubectl without a cluster: what is offline is the real one's; what is applied is held against the rules, and kept.

`port-forward` starts what the service stands for: MLflow as its Deployment starts it, Kubeflow's API, the server.
"""

import base64
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import yaml

from tests.manifests.manifests import Object, kubectl, pods, render

STATE = Path(os.environ["STAND_IN_STATE"])
GROUPS = {"Deployment": ".apps", "InferenceService": ".serving.kserve.io"}
TOKEN = "of-default-editor"
OFFLINE = ("kustomize", "create", "annotate")


def main(arguments: list[str]) -> None:
    verb, *rest = arguments
    if arguments[:2] == ["create", "token"]:
        assert "pipelines.kubeflow.org" in rest, rest
        print(TOKEN)
        return
    if verb in OFFLINE:
        assert verb == "kustomize" or {"--dry-run=client", "--local"} & set(rest), rest
        os.execv(kubectl(), [kubectl(), *arguments])
    namespace = rest[rest.index("--namespace") + 1] if "--namespace" in rest else ""
    named = [each for each in rest if "/" in each and not each.startswith("http")]
    if verb == "apply":
        apply(rest[1], kustomize=rest[0] == "--kustomize")
    elif verb == "wait":
        print(f"{found(named[0])} condition met")
    elif verb == "patch":
        assert rest[0] == "clusterstoragecontainer", rest
        assert json.loads(rest[-1])["spec"]["container"]["securityContext"]["runAsNonRoot"]
        print("clusterstoragecontainer.serving.kserve.io/default patched")
    elif verb == "label":
        assert rest[0] == "namespace", rest
        print(f"namespace/{rest[1]} labeled")
    else:
        assert verb == "port-forward", verb
        here, _, there = rest[-1].partition(":")
        forward(namespace, named[0], int(here), there)


def apply(place: str, *, kustomize: bool) -> None:
    """Keep objects, if all that they refer to is there."""
    text = sys.stdin.read() if place == "-" else "" if kustomize else Path(place).read_text("utf-8")
    objects: list[Object] = render(Path(place)) if kustomize else list(yaml.safe_load_all(text))
    if kustomize:
        from tests.manifests.checked import problems  # its schemas take seconds to import

        assert problems(objects) == {}
        assert lacking(objects) == set()
    for each in objects:
        path = STATE / each["kind"] / f"{each['metadata']['name']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(each))
        print(f"{each['kind'].lower()}{GROUPS.get(each['kind'], '')}/{each['metadata']['name']} created")


def lacking(objects: list[Object]) -> set[str]:
    """Return the keys of secrets that somebody reads and nobody has made."""
    wanted = {
        (key["name"], key["key"])
        for pod in pods(objects)
        for _, each in pod.containers
        for entry in each.get("env", [])
        if (key := entry.get("valueFrom", {}).get("secretKeyRef"))
    }
    wanted |= {(each["name"], "AWS_ACCESS_KEY_ID") for obj in objects for each in obj.get("secrets", [])}
    return {f"{name}/{key}" for name, key in wanted if key not in secret(name)}


def secret(name: str) -> dict[str, str]:
    data = kept("Secret", name).get("data", {})
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def kept(kind: str, name: str) -> Any:
    path = STATE / kind / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def found(name: str) -> str:
    """Return an object as kubectl names it; the InferenceService is there once there is who makes it."""
    kinds = {"deployment": "Deployment", "service": "Service", "inferenceservice": "InferenceService"}
    kind, _, of = name.partition("/")
    assert kept(kinds[kind], of) or (kind == "inferenceservice" and kept("Deployment", "deployer")), name
    return f"{kind}{GROUPS.get(kinds[kind], '')}/{of}"


def forward(namespace: str, service: str, here: int, there: str) -> None:
    if (namespace, service, there) == ("kubeflow", "service/ml-pipeline", "8888"):
        from tests.cluster import kubeflow

        with kubeflow.running(TOKEN, port=here, multi_user=True):
            threading.Event().wait()
    assert namespace == "rewardlab"
    made = kept("Service", service.partition("/")[2])
    assert there in [str(port[key]) for port in made["spec"]["ports"] for key in ("name", "port")]
    if service == "service/mlflow":
        mlflow(here)
    bundle, python = os.environ["STAND_IN_BUNDLE"], sys.executable
    os.execv(python, [python, "-m", "serving", "--bundle", bundle, "--port", str(here)])


def mlflow(port: int) -> None:
    """Become MLflow as its Deployment starts it, with a database and artifacts in a folder."""
    from tests.deployed_mlflow import container_of, started

    made = [kept("Deployment", "mlflow")]
    settings = kept("ConfigMap", "rewardlab")["data"] | {"artifacts": str(STATE / "artifacts")}
    secrets = {name: secret(name) for name in ("rewardlab-mlflow-server", "rewardlab-s3")}
    server = secrets["rewardlab-mlflow-server"]
    server["auth.ini"] = server["auth.ini"].replace(server["backend-store-uri"], f"sqlite:///{STATE}/auth.db")
    server["backend-store-uri"] = f"sqlite:///{STATE}/mlflow.db"
    command, env = started(container_of(made), settings, secrets, folder=STATE, port=port)
    os.execve(command[0], command, {**os.environ, **env})


if __name__ == "__main__":
    main(sys.argv[1:])
