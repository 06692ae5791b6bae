"""Profiles: what each step asks of a cluster. A variant is `replace(gpu(), ...)`; the committed IR is `local`'s.

The names of what a namespace must hold (config map, secrets, claim) are those of the manifests in `deploy/`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.kubeflow import train_job
from pipelines.life_cycle import STEPS
from pipelines.recipes import Recipe
from rewardlab.config import Config
from steps.common.credentials import (
    GIT_KNOWN_HOSTS,
    GIT_PASSWORD,
    GIT_SSH_KEY,
    GIT_USERNAME,
    S3_ACCESS_KEY,
    S3_ENDPOINT,
    S3_SECRET_KEY,
)
from steps.registry.step_failures import CLUSTER_RUN, CLUSTER_STEP
from steps.train.launch.nodes import POD_NAME, POD_UID, SPEC

CONFIG_MAP, CLAIM = "rewardlab", "rewardlab-state"
_STATE = "/var/lib/rewardlab"
_RUN_LABEL = "metadata.labels['pipeline/runid']"
"""The label that Kubeflow gives to each pod of a run: the run's id."""
_HOME = {"REWARDLAB_HOME": _STATE, "REWARDLAB_CACHE": f"{_STATE}/backbones"}
_PLAIN = {
    "MLFLOW_TRACKING_URI": "mlflow-tracking-uri",
    S3_ENDPOINT: "s3-endpoint",
}
"""Environment variables, and the keys of the config map that they are read from."""
_SECRETS = {
    "rewardlab-mlflow": {"username": "MLFLOW_TRACKING_USERNAME", "password": "MLFLOW_TRACKING_PASSWORD"},
    "rewardlab-s3": {"access-key": S3_ACCESS_KEY, "secret-key": S3_SECRET_KEY},
    "rewardlab-hub": {"token": "HF_TOKEN"},
    "rewardlab-git": {
        "username": GIT_USERNAME,
        "password": GIT_PASSWORD,
        "ssh-key": GIT_SSH_KEY,
        "known-hosts": GIT_KNOWN_HOSTS,
    },
}
"""Secrets, and the environment variables that their keys become; a namespace that needs one not leaves it out."""
_NODES_PLAIN = {"MLFLOW_TRACKING_URI": _PLAIN["MLFLOW_TRACKING_URI"]}
_NODES_SECRETS = {"rewardlab-mlflow": _SECRETS["rewardlab-mlflow"]}
"""What the nodes of a training need of these: all else that they read lies on the claim."""
_QUIET = {"DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "1"}
_FIRST_WAIT_SECONDS = 30
_QUEUE_SECONDS = 3600
"""How long the pods of all tries together may wait for a node."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement(Config):
    """What a step asks for: Kubernetes quantities, whole devices, seconds; of each node where it takes several.

    The memory asked for is the memory allowed, so that a step is never ended for what another one took. Retries wait
    half a minute first, then twice as long each time. Argo tries a step again that ended by itself only where its
    `retryPolicy` is `Always` (docs/deploy.md).
    """

    cpu: str = "1"
    memory: str = "4Gi"
    nodes: int = 1
    devices: int = 0
    device: str = "nvidia.com/gpu"
    shared_memory: str = ""
    retries: int = 0
    seconds: int = 3600

    def __post_init__(self) -> None:
        if self.devices < 0 or self.retries < 0 or self.seconds < 1 or self.nodes < 1:
            raise ValueError(f"devices and retries are at least 0, seconds and nodes at least 1, got {self.to_json()}")

    @property
    def all_tries_seconds(self) -> int:
        """Return how long all tries of the step and the waits between them may take.

        Argo counts it from the first try's start, starts no try after it, and ends one that still runs then.
        """
        waits = _FIRST_WAIT_SECONDS * (int(2**self.retries) - 1)  # 30 + 60 + 120 + ...
        return (self.retries + 1) * self.seconds + waits + _QUEUE_SECONDS

    @property
    def processes(self) -> int:
        """Return how many processes train together: one a device, or one a node."""
        return self.nodes * max(1, self.devices)


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile(Config):
    """The placement of each step by name; steps that are not named get `others`. Without `others` nothing is asked."""

    name: str
    others: Placement | None = None
    steps: dict[str, Placement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := sorted({*self.steps} - {*STEPS}):
            raise ValueError(f"there is no step {', '.join(unknown)}: choose {', '.join(STEPS)}")


def local() -> Profile:
    """Ask for nothing: what runs on a laptop, one process a step."""
    return Profile(name="local")


def cpu() -> Profile:
    """Train on the processors of one node."""
    return Profile(
        name="cpu",
        others=Placement(retries=2),
        steps={
            **_light(),
            "train": Placement(cpu="8", memory="24Gi", shared_memory="2Gi", retries=3, seconds=12 * 3600),
            "export": Placement(cpu="4", memory="16Gi", retries=1),
            "evaluate": Placement(cpu="8", memory="8Gi", retries=1, seconds=3 * 3600),
            "audit": Placement(cpu="8", memory="8Gi", retries=1, seconds=3 * 3600),
        },
    )


def gpu() -> Profile:
    """Train on one GPU; everything else as `cpu`."""
    base = cpu()
    train = Placement(cpu="8", memory="64Gi", devices=1, shared_memory="16Gi", retries=3, seconds=24 * 3600)
    return Profile(name="gpu", others=base.others, steps={**base.steps, "train": train})


def multi_node() -> Profile:
    """Train on two nodes of eight GPUs each, which the train step starts and watches.

    The steps that read all rows get eight cores, since so large a model has much data; the rest is as in `cpu`.
    """
    base = cpu()
    rows = dict.fromkeys(("ingest", "validate", "tokenize"), Placement(cpu="8", memory="8Gi", retries=2))
    node = Placement(nodes=2, cpu="64", memory="512Gi", devices=8, shared_memory="64Gi", retries=3, seconds=72 * 3600)
    return Profile(name="multi-node", others=base.others, steps={**base.steps, **rows, "train": node})


PROFILES: Mapping[str, Callable[[], Profile]] = {"local": local, "cpu": cpu, "gpu": gpu, "multi-node": multi_node}


def profile(name: str) -> Profile:
    """Return a profile by name.

    Raises:
        ValueError: there is no such profile.
    """
    if name not in PROFILES:
        raise ValueError(f"there is no profile {name!r}: choose {', '.join(PROFILES)}")
    return PROFILES[name]()


def place(chosen: Profile, tasks: Mapping[str, Any]) -> None:
    """Configure a pipeline's tasks, by name, as a profile says."""
    for name, task in tasks.items():
        placement = chosen.steps.get(name, chosen.others)
        if placement and placement.nodes > 1:
            _several_nodes(task, placement)
            placement = replace(placement, nodes=1, cpu="1", memory="4Gi", devices=0, shared_memory="")
        if placement:
            _resources(task, placement)
            _surroundings(task, placement)
            _identity(task, name)


def fitted(recipe: Recipe, chosen: Profile) -> Recipe:
    """Return a recipe that trains in as many processes as the profile's nodes hold; on one node it says so itself.

    Raises:
        ValueError: the recipe asks for another number.
    """
    node = chosen.steps.get("train", Placement())
    if node.nodes == 1:
        return recipe
    if recipe.train.num_processes not in (1, node.processes):
        raise ValueError(
            f"train.num_processes is {recipe.train.num_processes}, and the profile {chosen.name} trains in "
            f"{node.processes} processes on {node.nodes} nodes: leave it out"
        )
    return replace(recipe, train=replace(recipe.train, num_processes=node.processes))


def _light() -> dict[str, Placement]:
    """Return the placement of steps that move names and small files.

    They ask for no retries, since what they fail for stays. Argo may start a step twice all the same, where its node is
    lost: they are written to be called again.
    """
    once = Placement(cpu="500m", memory="2Gi", seconds=1800)
    return dict.fromkeys(("gate", "register", "promote", "report"), once)


def _several_nodes(task: Any, placement: Placement) -> None:
    """Tell the train step the job that it starts, and who it is itself, since the job is to go with it."""
    from kfp import kubernetes

    from components import IMAGE

    env = train_job.variables(_HOME, _NODES_PLAIN, CONFIG_MAP, _NODES_SECRETS)
    task.set_env_variable(SPEC, train_job.train_job(placement, image=IMAGE, env=env, claim=CLAIM, state=_STATE))
    kubernetes.use_field_path_as_env(task, POD_NAME, "metadata.name")
    kubernetes.use_field_path_as_env(task, POD_UID, "metadata.uid")


def _resources(task: Any, placement: Placement) -> None:
    task.set_cpu_request(placement.cpu).set_cpu_limit(placement.cpu)
    task.set_memory_request(placement.memory).set_memory_limit(placement.memory)
    if placement.devices:
        task.set_accelerator_type(placement.device).set_accelerator_limit(placement.devices)
    if placement.retries:
        task.set_retry(
            placement.retries,
            backoff_duration=f"{_FIRST_WAIT_SECONDS}s",
            backoff_factor=2,
            backoff_max_duration=f"{placement.all_tries_seconds}s",
        )


def _identity(task: Any, name: str) -> None:
    """Tell a task its name and the run it belongs to, which are no parameters: the cache looks at those."""
    from kfp import kubernetes

    task.set_env_variable(CLUSTER_STEP, name)
    kubernetes.use_field_path_as_env(task, CLUSTER_RUN, _RUN_LABEL)


def _surroundings(task: Any, placement: Placement) -> None:
    """Give a task the namespace's settings, secrets and shared state, a time limit, and no rights it does not need."""
    from kfp import kubernetes

    for name, value in {**_HOME, **_QUIET}.items():
        task.set_env_variable(name, value)
    keys = {key: variable for variable, key in _PLAIN.items()}
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, keys, optional=True)
    for secret, variables in _SECRETS.items():
        kubernetes.use_secret_as_env(task, secret, variables, optional=True)
    kubernetes.mount_pvc(task, CLAIM, _STATE)
    kubernetes.set_timeout(task, placement.seconds)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.set_security_context(task, run_as_user=10001, run_as_non_root=True)
    if placement.devices:
        kubernetes.add_toleration(task, key=placement.device, operator="Exists", effect="NoSchedule")
    if placement.shared_memory:
        kubernetes.empty_dir_mount(
            task,
            "shm",
            "/dev/shm",  # noqa: S108 (the mount that torch uses)
            medium="Memory",
            size_limit=placement.shared_memory,
        )
