"""Profiles: the committed IR asks for nothing; what a cluster is asked for is bounded, pinned and without rights."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec import pipeline_spec_pb2
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJobSpec

from components import IMAGE
from pipelines.ir import GOLDEN, compile_objects, compile_pipeline, read_ir
from pipelines.profiles import PROFILES, Placement, place, profile
from steps.train.launch.nodes import POD_NAME, POD_UID, SPEC
from tests.cluster.kubernetes import lost
from tests.command import rewardlab

FRESH = {"resolve", "register", "promote", "report"}
"""What depends on the moment or changes the registry is never answered from a cache."""
Documents = list[dict[str, Any]]


@pytest.fixture(scope="module", params=sorted(set(PROFILES) - {"local"}))
def documents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """Return spec and platform of a profile's IR."""
    target = tmp_path_factory.mktemp("ir") / "ir.yaml"
    compile_pipeline(target, profile(request.param))
    return list(yaml.safe_load_all(target.read_text()))


def executors(spec: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("exec-"): each for name, each in spec["deploymentSpec"]["executors"].items()}


def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    parts = [spec["root"], *spec["components"].values()]
    return {name: task for part in parts for name, task in part.get("dag", {}).get("tasks", {}).items()}


@functools.cache
def several_nodes() -> str:
    """Return the TrainJob that the train step of `multi-node` is told, without its command."""
    from kfp import dsl

    from components.model import train

    @dsl.pipeline
    def alone(settings: str) -> None:
        data = dsl.importer(artifact_uri="s3://b/k", artifact_class=dsl.Dataset)
        task = train(settings=settings, digest="", tokens=data.output)
        place(profile("multi-node"), {"train": task})

    spec = alone.pipeline_spec
    (each,) = [part for name, part in spec.deployment_spec["executors"].items() if "train" in name]
    return next(str(entry["value"]) for entry in each["container"]["env"] if entry["name"] == SPEC)


def test_the_committed_ir_asks_for_nothing() -> None:
    assert len(read_ir(GOLDEN)) == 1
    assert not any("resources" in each["container"] for each in executors(read_ir(GOLDEN)[0]).values())


def test_every_profile_is_valid(documents: Documents) -> None:
    spec, platform = documents
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    for each in executors(platform["platforms"]["kubernetes"]).values():
        json_format.ParseDict(each, KubernetesExecutorConfig())


@pytest.mark.parametrize("name", sorted(set(PROFILES) - {"local"}))
def test_every_profile_does_the_same(name: str, tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "ir.yaml", profile(name))
    spec, golden = next(yaml.safe_load_all((tmp_path / "ir.yaml").read_text())), read_ir(GOLDEN)[0]
    assert spec["components"].keys() == golden["components"].keys()
    assert {name: task.get("inputs") for name, task in tasks(spec).items()} == {
        name: task.get("inputs") for name, task in tasks(golden).items()
    }


def test_every_step_is_bounded_and_may_do_nothing_else(documents: Documents) -> None:
    spec, platform = documents
    surroundings = executors(platform["platforms"]["kubernetes"])
    assert surroundings.keys() == executors(spec).keys()
    for name, each in executors(spec).items():
        resources = each["container"]["resources"]
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"]
        assert int(surroundings[name]["activeDeadlineSeconds"]) > 0
        assert surroundings[name]["securityContext"] == {"runAsUser": "10001", "runAsNonRoot": True}


def test_images_are_pinned_and_nothing_is_installed(documents: Documents) -> None:
    for each in executors(documents[0]).values():
        image, script = each["container"]["image"], " ".join(each["container"]["command"])
        assert image == IMAGE
        assert re.search(r":(?!latest$)[\w.-]+$|@sha256:[0-9a-f]{64}$", image)
        assert "pip install" not in script


def test_what_changes_the_registry_runs_once_and_afresh_and_conditions_are_bools(documents: Documents) -> None:
    found = tasks(documents[0])
    assert {name for name in FRESH if found[name]["cachingOptions"].get("enableCache")} == set()
    assert {name for name in FRESH - {"resolve"} if "retryPolicy" in found[name]} == set()
    policies = [task.get("triggerPolicy", {}) for task in found.values()]
    conditions = [policy["condition"] for policy in policies if "condition" in policy]
    assert conditions
    assert all(text.endswith(" == true") for text in conditions)
    assert found["report"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_secrets_are_named_and_never_written(documents: Documents) -> None:
    spec, platform = documents
    for each in executors(platform["platforms"]["kubernetes"]).values():
        assert {secret["secretName"] for secret in each["secretAsEnv"]} == {
            "rewardlab-mlflow",
            "rewardlab-s3",
            "rewardlab-hub",
            "rewardlab-git",
        }
    values = [entry for each in executors(spec).values() for entry in each["container"].get("env", [])]
    plain = {"REWARDLAB_HOME", "REWARDLAB_CACHE", "REWARDLAB_CLUSTER_STEP", "DO_NOT_TRACK", "DVC_NO_ANALYTICS"}
    assert {entry["name"] for entry in values} - {SPEC} == plain


def test_kubeflows_launcher_finds_no_credentials_of_ours(documents: Documents) -> None:
    assert '"AWS_' not in json.dumps(documents)


def test_a_step_knows_its_name_and_its_run_by_no_parameter(documents: Documents) -> None:
    spec, platform = documents
    for name, each in executors(spec).items():
        assert {"name": "REWARDLAB_CLUSTER_STEP", "value": name} in each["container"]["env"]
    for each in executors(platform["platforms"]["kubernetes"]).values():
        label = {"name": "REWARDLAB_CLUSTER_RUN", "fieldPath": "metadata.labels['pipeline/runid']"}
        assert label in each["fieldPathAsEnv"]


def test_no_try_is_cut_off_and_all_retries_have_time(documents: Documents) -> None:
    """Argo counts from the first try's start, starts none behind that time, and ends one that runs then."""
    spec, platform = documents
    retried = {name: task["retryPolicy"] for name, task in tasks(spec).items() if "retryPolicy" in task}
    assert {"fetch", "train", "export", "evaluate"} <= retried.keys()
    for name, policy in retried.items():
        tries = policy["maxRetryCount"] + 1
        deadline = int(executors(platform["platforms"]["kubernetes"])[name]["activeDeadlineSeconds"])
        waits = sum(30 * 2**retry for retry in range(tries - 1))
        assert policy["backoffDuration"] == "30s"
        assert int(policy["backoffMaxDuration"].removesuffix("s")) >= tries * deadline + waits


def test_nodes_have_what_the_step_has_secrets_by_reference_and_no_rights() -> None:
    spec = json.loads(several_nodes())
    assert list(lost(spec, TrainerV1alpha1TrainJobSpec.from_dict(spec).to_dict())) == []
    env = {entry["name"]: entry for entry in spec["trainer"]["env"]}
    assert {name for name, entry in env.items() if "value" in entry} == {"REWARDLAB_HOME", "REWARDLAB_CACHE"}
    secrets = {
        entry["valueFrom"]["secretKeyRef"]["name"]
        for entry in env.values()
        if "secretKeyRef" in entry.get("valueFrom", {})
    }
    assert secrets == {"rewardlab-mlflow"}
    limits = spec["trainer"]["resourcesPerNode"]["limits"]
    assert (
        limits
        == spec["trainer"]["resourcesPerNode"]["requests"]
        == {
            "cpu": "64",
            "memory": "512Gi",
            "nvidia.com/gpu": "8",
        }
    )
    (job,) = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert (job["name"], pod["securityContext"]["runAsNonRoot"]) == ("node", True)
    mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts == {"/var/lib/rewardlab", "/dev/shm", "/tmp"}


def test_a_train_step_that_watches_nodes_asks_for_no_gpu(tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "ir.yaml", profile("multi-node"))
    spec, platform = yaml.safe_load_all((tmp_path / "ir.yaml").read_text())
    assert not any("accelerator" in each["container"]["resources"] for each in executors(spec).values())
    paths = executors(platform["platforms"]["kubernetes"])["train"]["fieldPathAsEnv"]
    found = {each["name"]: each["fieldPath"] for each in paths}
    assert found.items() >= {POD_NAME: "metadata.name", POD_UID: "metadata.uid"}.items()


def test_on_several_nodes_the_steps_over_all_rows_get_eight_cores(tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "ir.yaml", profile("multi-node"))
    spec, _ = yaml.safe_load_all((tmp_path / "ir.yaml").read_text())
    cores = {name: part["container"]["resources"]["resourceCpuLimit"] for name, part in executors(spec).items()}
    assert {name for name, limit in cores.items() if limit == "8"} == {
        "ingest",
        "validate",
        "tokenize",
        "evaluate",
        "audit",
    }


def test_a_gpu_is_asked_for_by_training_alone(tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "ir.yaml", profile("gpu"))
    spec, platform = yaml.safe_load_all((tmp_path / "ir.yaml").read_text())
    asking = {name for name, each in executors(spec).items() if "accelerator" in each["container"]["resources"]}
    assert asking == {"train"}
    train = executors(platform["platforms"]["kubernetes"])["train"]
    assert [each["key"] for each in train["tolerations"]] == ["nvidia.com/gpu"]
    assert train["emptyDirMounts"][0]["mountPath"] == "/dev/shm"


def test_the_objects_hold_the_compiled_pipeline(tmp_path: Path) -> None:
    compile_objects(tmp_path / "objects.yaml", profile("cpu"), version="0.1", namespace="rewards")
    first, second = yaml.safe_load_all((tmp_path / "objects.yaml").read_text())
    compile_pipeline(tmp_path / "ir.yaml", profile("cpu"))
    spec, platform = yaml.safe_load_all((tmp_path / "ir.yaml").read_text())
    assert (first["kind"], second["kind"]) == ("Pipeline", "PipelineVersion")
    assert first["metadata"]["name"] == second["spec"]["pipelineName"] == "reward-model"
    assert (second["spec"]["pipelineSpec"], second["spec"]["platformSpec"]) == (spec, platform)


def test_a_profile_that_is_none_and_the_golden_ir_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no profile 'tpu'"):
        profile("tpu")
    with pytest.raises(ValueError, match="devices and retries"):
        Placement(devices=-1)
    assert "name another file" in rewardlab("compile", "--profile", "gpu").complaint
    done = rewardlab("compile", "--profile", "gpu", "--out", tmp_path / "a.yaml", "--objects", tmp_path / "b.yaml")
    assert done.code == 0
    assert len(done.out.splitlines()) == 2
