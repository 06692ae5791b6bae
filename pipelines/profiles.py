"""Profiles: what each step asks of a cluster. A variant is `replace(gpu(), ...)`; the committed IR is `local`'s.

The names of what a namespace must hold (config map, secrets, claim) are those of the manifests in `deploy/`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewardlab.config import Config

CONFIG_MAP = "rewardlab"
_STATE = "/var/lib/rewardlab"
_PLAIN = {
    "MLFLOW_TRACKING_URI": "mlflow-tracking-uri",
    "AWS_ENDPOINT_URL": "s3-endpoint",
}
"""Environment variables, and the keys of the config map that they are read from."""
_SECRETS = {
    "rewardlab-mlflow": {"username": "MLFLOW_TRACKING_USERNAME", "password": "MLFLOW_TRACKING_PASSWORD"},
    "rewardlab-s3": {"access-key": "AWS_ACCESS_KEY_ID", "secret-key": "AWS_SECRET_ACCESS_KEY"},
    "rewardlab-hub": {"token": "HF_TOKEN"},
}
"""Secrets, and the environment variables that their keys become; a namespace that needs one not leaves it out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement(Config):
    """What a step asks for: Kubernetes quantities, whole devices, seconds.

    The memory asked for is the memory allowed, so that a step is never ended for what another one took. Retries wait
    half a minute first, then twice as long each time.
    """

    cpu: str = "1"
    memory: str = "4Gi"
    devices: int = 0
    device: str = "nvidia.com/gpu"
    shared_memory: str = ""
    retries: int = 0
    seconds: int = 3600

    def __post_init__(self) -> None:
        if self.devices < 0 or self.retries < 0 or self.seconds < 1:
            raise ValueError(f"devices and retries are at least 0 and seconds at least 1, got {self.to_json()}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile(Config):
    """The placement of each step by name; steps that are not named get `others`. Without `others` nothing is asked."""

    name: str
    others: Placement | None = None
    steps: dict[str, Placement] = field(default_factory=dict)


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


PROFILES: Mapping[str, Callable[[], Profile]] = {"local": local, "cpu": cpu, "gpu": gpu}


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
        if placement:
            _resources(task, placement)
            _surroundings(task, placement)


def _light() -> dict[str, Placement]:
    """Steps that move names and small files; the registry's state must not be changed twice, so these do not retry."""
    once = Placement(cpu="500m", memory="2Gi", seconds=1800)
    return dict.fromkeys(("gate", "register", "promote", "report"), once)


def _resources(task: Any, placement: Placement) -> None:
    task.set_cpu_request(placement.cpu).set_cpu_limit(placement.cpu)
    task.set_memory_request(placement.memory).set_memory_limit(placement.memory)
    if placement.devices:
        task.set_accelerator_type(placement.device).set_accelerator_limit(placement.devices)
    if placement.retries:
        task.set_retry(placement.retries, backoff_duration="30s", backoff_factor=2, backoff_max_duration="600s")


def _surroundings(task: Any, placement: Placement) -> None:
    """Give a task the namespace's settings, secrets and shared state, a time limit, and no rights it does not need."""
    from kfp import kubernetes

    task.set_env_variable("REWARDLAB_HOME", _STATE).set_env_variable("REWARDLAB_CACHE", f"{_STATE}/backbones")
    keys = {key: variable for variable, key in _PLAIN.items()}
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, keys, optional=True)
    for secret, variables in _SECRETS.items():
        kubernetes.use_secret_as_env(task, secret, variables, optional=True)
    kubernetes.mount_pvc(task, "rewardlab-state", _STATE)
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
