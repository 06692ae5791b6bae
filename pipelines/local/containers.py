"""Run each step in a container of its own, on Docker's or Podman's socket, with kfp's `DockerRunner`."""

import codecs
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.local.images import image, tag
from pipelines.local.record import blame, replaced
from rewardlab.config import Config
from rewardlab.cores import num_cores

VERSION_LABEL = "org.opencontainers.image.version"
_SOCKETS = (
    *("/var/run/docker.sock", "$XDG_RUNTIME_DIR/docker.sock"),
    *("/run/podman/podman.sock", "$XDG_RUNTIME_DIR/podman/podman.sock"),
)
_MOST_PROCESSES = 4096
_KILLED = 128
"""Exit codes above it are those of a process that a signal ended."""
_TOLD = ("AWS_", "DO_NOT_TRACK", "DVC_", "GX_", "HF_", "MLFLOW_", "OMP_", "PYTHONWARNINGS", "REWARDLAB_", "TOKENIZERS_")
"""How the variables begin that steps are told."""
_SAID = {
    "USER": "rewardlab",  # the container knows no name for the number that it runs as
    "GIT_CONFIG_COUNT": "1",  # git would not read a repository of another number
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Containers(Config):
    """Where steps run: the engine's address, the image by the name the engine knows it by, as whom, and limits.

    A container may use so many cores, and memory as Docker writes it, without swap.
    """

    address: str
    image: str
    user: str
    cpus: float
    memory: str


def containers(*, cpus: float | None = None, memory: str = "") -> Containers:
    """Return where steps can run here: on the engine that answers, in this source's image.

    The engine is that of `DOCKER_HOST`, Docker's, or Podman's; the image that of `REWARDLAB_IMAGE`, or what
    `make image` builds. Containers run as the user who asks, so that what they write is theirs.

    Args:
        cpus: of one container; by default all cores.
        memory: of one container, such as "6g"; by default four fifths of this machine's, so that a step that asks for
            more ends alone.

    Raises:
        ValueError: no engine answers, or it has no such image, or one of another source than this.
    """
    from docker import DockerClient

    address = _answering()
    with closing(DockerClient(base_url=address)) as client:
        rootless = any("rootless" in option for option in client.info().get("SecurityOptions") or ())
        user = "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"  # whom a rootless engine calls 0 is who started it
        physical_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = memory or f"{physical_bytes * 4 // 5 // 2**20}m"
        wanted = _image(client, address)
        return Containers(address=address, image=wanted, user=user, cpus=cpus or num_cores(), memory=memory)


def named_paths(value: Any) -> Iterator[Path]:
    """Yield what is on this machine's disk of all that settings name, such as data and the folder of a backbone."""
    if isinstance(value, str):
        if value and os.path.exists(value):
            yield Path(value).absolute()
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from named_paths(each)


@contextmanager
def container_runner(where: Containers, *, read: Iterable[Path], write: Iterable[Path]) -> Iterator[Any]:
    """Yield a `DockerRunner` whose containers see these paths, at the same places, and the host's network.

    They can do nothing else: no capabilities, no new privileges, and a root file system that cannot be written to.
    What this process's environment says of registry, stores, hub and threads is said to them too.
    """
    from docker.types import Mount
    from kfp import local
    from kfp.local import docker_task_handler

    read = list(read)
    locks = [path / ".dvc" / "tmp" for path in read if (path / ".dvc").is_dir()]  # where DVC keeps them
    write = [*write, *locks]
    for path in write:
        path.mkdir(parents=True, exist_ok=True)
    shown = {**dict.fromkeys(map(str, read), True), **dict.fromkeys(map(str, write), False)}
    mounts = [Mount(path, path, type="bind", read_only=only) for path, only in shown.items()]
    runner = local.DockerRunner(
        environment={key: value for key, value in os.environ.items() if key.startswith(_TOLD)} | _SAID,
        mounts=[*mounts, Mount("/tmp", None, type="volume")],  # noqa: S108 (the container's own, on disk)
        user=where.user,
        working_dir=str(Path.cwd()),
        network_mode="host",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        init=True,
        nano_cpus=int(where.cpus * 1e9),
        mem_limit=where.memory,
        memswap_limit=where.memory,
        pids_limit=_MOST_PROCESSES,
    )
    with replaced(docker_task_handler, "run_docker_container", run_container):
        yield runner


def run_container(client: Any, image: str, command: list[str], volumes: dict[str, Any], **more: Any) -> int:
    """Run a step's container and return its exit code; stands in for the function of kfp's that `DockerRunner` calls.

    kfp has the engine remove a container as soon as it ends, and takes one that is not there any more for a success.
    It also leaves one running where the run is interrupted, and fails where the stream cuts a letter in two.
    """
    from docker.errors import APIError, NotFound

    container = client.containers.create(image=image, command=command, volumes=volumes, **more)
    try:
        container.start()
        for line in _lines(container.logs(stream=True, follow=True)):
            print(line)
        code = int(container.wait()["StatusCode"])
        if code > _KILLED:
            _fail(f"RuntimeError: its container was ended by signal {code - _KILLED}{_hint(code, more)}")
        return code
    except NotFound:
        _fail("RuntimeError: its container vanished while it ran")
        return 1
    finally:
        with suppress(APIError):
            container.remove(force=True, v=True)


def _fail(reason: str) -> None:
    """Say in the log and in the run's record why a step failed whose process could not."""
    print(reason)
    blame(reason)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    rest = ""
    for piece in codecs.iterdecode(pieces, "utf-8", "replace"):
        *lines, rest = (rest + piece).split("\n")
        yield from lines
    if rest:
        yield rest


def _answering() -> str:
    from docker import DockerClient
    from docker.errors import DockerException

    given = os.environ.get("DOCKER_HOST")
    sockets = [path for path in map(os.path.expandvars, _SOCKETS) if Path(path).is_socket()]
    tried = [given] if given else [f"unix://{path}" for path in sockets]
    for address in tried:
        with suppress(DockerException, OSError), closing(DockerClient(base_url=address, timeout=10)) as client:
            client.ping()
            return address
    raise ValueError(
        f"no Docker or Podman answers at {', '.join(tried) or 'the usual sockets'}: start one, such as "
        "`podman system service --time=0 &`, or set DOCKER_HOST"
    )


def _image(client: Any, address: str) -> str:
    from docker.errors import ImageNotFound

    wanted = os.environ.get("REWARDLAB_IMAGE") or image("train")
    try:
        found = client.images.get(wanted)
    except ImageNotFound as error:
        raise ValueError(f"there is no image {wanted} at {address}: `make image` builds it") from error
    source = found.labels.get(VERSION_LABEL)
    if source != tag():
        raise ValueError(f"the image {wanted} is of the source {source}, and this is {tag()}: `make image`")
    return next(str(name) for name in found.tags if f"/{name}".endswith(f"/{wanted}"))


def _hint(code: int, options: Mapping[str, Any]) -> str:
    """Return what to look for where the kernel may have ended a process; not every engine says that it was."""
    limit = options.get("mem_limit")
    return f"; did it want more than {limit} of memory (--memory)?" if code == _KILLED + signal.SIGKILL else ""
