"""Every object is one that its API server takes as it stands: no key it would drop, no value of another type.

Kinds of Kubernetes are held against its strict schemas. Custom ones go through the typed models that their projects
publish, and back: those models take unknown keys silently and lose them, so a key that is lost is one nobody knows.
"""

import json
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.manifests.manifests import Object, name_of, templates

KUBERNETES = "1.37"


def shapes(objects: list[Object]) -> Iterator[str]:
    """Yield what is wrong with the shape of objects, and of what the deployer makes objects of."""
    for each in (*objects, *templates(objects)):
        for fault in _faults(json.dumps(each, sort_keys=True)):
            yield f"{name_of(each)}: {fault}"


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield what differs in a copy that may hold more keys.

    Example:
        >>> list(lost({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "d": 3}}))
        ['.a.c is not known']
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after[key], f"{path}.{key}") if key in after else [f"{path}.{key} is not known"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}[{at}]")
    elif before != after:
        yield f"{path} is {before!r}, taken as {after!r}"


@cache
def _faults(text: str) -> tuple[str, ...]:
    import kubernetes_validate

    each = json.loads(text)
    typed = {
        "trainer.kubeflow.org/v1alpha1": _trainer,
        "serving.kserve.io/v1alpha1": _kserve,
        "serving.kserve.io/v1beta1": _kserve,
        "monitoring.coreos.com/v1": _prometheus,
    }
    if back := typed.get(each["apiVersion"]):
        try:
            return tuple(lost(each, back(each)))
        except (ValueError, TypeError, AttributeError) as error:
            return (str(error),)
    try:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        return (error.message,)
    except kubernetes_validate.ValidationError as error:
        return (f"{error.json_path}: {error.message}",)
    return ()


def _trainer(each: Object) -> Any:
    from kubeflow_trainer_api import models

    return getattr(models, f"TrainerV1alpha1{each['kind']}").from_dict(each).to_dict()


def _prometheus(each: Object) -> Any:
    from cloudcoil.models.prometheus_operator import v1

    return getattr(v1, each["kind"]).model_validate(each).model_dump(mode="json", by_alias=True, exclude_none=True)


def _kserve(each: Object) -> Any:
    """Return an object through KServe's models, which name those of Kubernetes without saying where they are."""
    from kubernetes import client

    known = _kserve_models()
    for name in (name for name in dir(known) if name.startswith("V1") and not hasattr(client.models, name)):
        setattr(client.models, name, getattr(known, name))
    # Two that KServe's package names and lacks: a Kubernetes quantity, and a type of Kubernetes by its whole name.
    client.models.V1beta1MetricQuantity = object
    client.models.K8sIoApiAppsV1DeploymentStrategy = client.V1DeploymentStrategy
    api = client.ApiClient()
    version = each["apiVersion"].rpartition("/")[2].capitalize()
    taken = api.deserialize(SimpleNamespace(data=json.dumps(each)), f"{version}{each['kind']}")
    return api.sanitize_for_serialization(taken)


@cache
def _kserve_models() -> ModuleType:
    """Return `kserve.models` alone: importing `kserve` itself starts with a server's packages, which are not here."""
    found = find_spec("kserve")
    if found is None or not found.submodule_search_locations:
        raise ValueError("KServe's models are not here: pip install --no-deps -r requirements/kserve.lock")
    package = ModuleType("kserve")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["kserve"] = package
    return import_module("kserve.models")
