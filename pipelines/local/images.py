"""Build the container images of this source with docker, podman or buildah: `python -m pipelines.local.images`."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.code_digest import ROOT, git_commit
from rewardlab import __version__
from rewardlab.config import Config
from rewardlab.files import file_digest, write_json

REPOSITORIES = {"train": "rewardlab-python", "serve": "rewardlab-serve", "serve-gpu": "rewardlab-serve-gpu"}
"""The target of each image in the Containerfile, and what it is called. kfp warns of a train image without "python"."""
DEFAULT_BASE = "python:3.11-slim"
_ENGINES = ("docker", "podman", "buildah")
_ROOMS = ("rewardlab", "models", "synthetic", "steps", "components", "pipelines", "commands", "serving")
_FILES = ("Containerfile", ".containerignore")
_OUT = ROOT / "build" / "images"


@dataclass(frozen=True, kw_only=True, slots=True)
class Built(Config):
    """An image: its name, what a container of it takes on disk, and how much of that is not its base's."""

    name: str
    num_bytes: int
    num_bytes_added: int
    sbom: str


def tag() -> str:
    """Return the tag of this source's images: the release, and the start of the sha256 of all that goes into them."""
    total = hashlib.sha256()
    for file in sorted(_sources()):
        total.update(f"{file.relative_to(ROOT).as_posix()}\0{file_digest(file)}\n".encode())
    return f"{__version__}-{total.hexdigest()[:12]}"


def image(target: str) -> str:
    """Return the name of a target's image, of this source.

    Example:
        >>> image("serve").startswith("rewardlab-serve:")
        True
    """
    return f"{REPOSITORIES[target]}:{tag()}"


def engine() -> str:
    """Return what builds here: docker if its daemon answers, else podman, else buildah.

    Raises:
        ValueError: there is none.
    """
    for name in _ENGINES:
        if shutil.which(name) and (name != "docker" or _answers("docker", "info")):
            return name
    raise ValueError(f"none of {', '.join(_ENGINES)} is here (docker counts if its daemon answers): install one")


def build(target: str, *, base: str, torch: str) -> Built:
    """Build an image, and write its software bill of materials to `build/images/`.

    Args:
        target: which, a key of `REPOSITORIES`.
        base: the image it stands on, with Python 3.11.
        torch: "cpu" or "cuda"; for `train`.

    Raises:
        subprocess.CalledProcessError: pip or the engine failed; it has said why.
    """
    builder, name = engine(), image(target)
    locks = _locks(target, torch)
    _bring("uv", [ROOT / "requirements/uv.lock"])
    _bring(target, [*locks, ROOT / "requirements/build.lock"] if target == "train" else locks)
    command = [builder, "build", "--file", "Containerfile", "--target", target, "--tag", name]
    if builder != "docker":
        command.append("--layers")
    version, revision = tag(), git_commit()
    arguments = {"BASE_IMAGE": base, "NO_INDEX": "--no-index", "VERSION": version, "REVISION": revision}
    if target == "train":
        arguments["TORCH"] = torch
    labels = {
        "title": REPOSITORIES[target],
        "version": version,
        "revision": revision,
        "licenses": "Apache-2.0",
        "base.name": base,
    }
    command += [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    for key, value in labels.items():
        command += ["--label", f"org.opencontainers.image.{key}={value}"]
    _say(*command, ".")
    sbom = _OUT / f"{name.replace(':', '-')}.cdx.json"
    write_json(sbom, materials(name, locks, debian=inside(name, "dpkg-query", "-W", "-f=${Package} ${Version}\n")))
    size = _num_bytes(name)
    return Built(name=name, num_bytes=size, num_bytes_added=size - _num_bytes(base), sbom=str(sbom))


def materials(image: str, locks: Sequence[Path], *, debian: str) -> dict[str, Any]:
    """Return the software bill of materials of an image as a CycloneDX document.

    It holds what the locks say pip installs, and Debian's packages.

    Args:
        image: its `NAME:TAG`.
        locks: what pip installed, with hashes.
        debian: `NAME VERSION` of a Debian package a line.
    """
    name, _, version = image.partition(":")
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--of", "JSON", "-"]
    text = "\n".join(lock.read_text(encoding="utf-8") for lock in locks)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)  # noqa: S603 (our own)
    bill: dict[str, Any] = json.loads(done.stdout)
    bill["metadata"]["component"] = {
        "type": "container",
        "bom-ref": image,
        "name": name,
        "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    bill["components"] += [_debian(*line.split()) for line in debian.splitlines()]
    bill["dependencies"] += [{"ref": each["bom-ref"]} for each in bill["components"] if "deb" in each["purl"][:8]]
    return bill


def inside(name: str, *command: str) -> str:
    """Return what a command prints that is run in an image, as root.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    builder = engine()
    if builder != "buildah":
        run = [builder, "run", "--rm", "--network", "none", "--user", "0", "--entrypoint", command[0]]
        return _said(*run, name, *command[1:])
    container = _said("buildah", "from", name).strip()
    try:
        return _said("buildah", "run", "--user", "0", container, "--", *command)
    finally:
        _said("buildah", "rm", container)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build images; say how large each is."""
    options = _parser().parse_args(arguments)
    try:
        for target in options.targets or ("train", "serve"):
            built = build(target, base=options.base, torch=options.torch)
            sizes = (built.num_bytes / 1e6, built.num_bytes_added / 1e6)
            print(f"{built.name}: {sizes[0]:.0f} MB, {sizes[1]:.0f} MB of it added to {options.base}; {built.sbom}")
            write_json(_OUT / f"{target}.json", built.to_dict())
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.local.images", description="Build container images.")
    add = parser.add_argument
    add("targets", nargs="*", metavar="TARGET", choices=[[], *REPOSITORIES], help="which (default: train and serve)")
    add("--base", default=DEFAULT_BASE, help="the image they stand on (default: %(default)s)")
    add("--torch", choices=("cpu", "cuda"), default="cpu", help="for train (default: %(default)s)")
    return parser


def _sources() -> Iterator[Path]:
    """Yield the files that decide what is in the images."""
    yield from (ROOT / name for name in _FILES)
    yield from (lock for lock in (ROOT / "requirements").glob("*.lock") if lock.name != "dev.lock")
    for room in _ROOMS:
        yield from (file for file in (ROOT / room).rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _locks(target: str, torch: str) -> list[Path]:
    names = [f"torch-{torch}", "train", "backbones"] if target == "train" else [target]
    return [ROOT / "requirements" / f"{name}.lock" for name in names]


def _bring(target: str, locks: Sequence[Path]) -> None:
    """Let this machine's pip, with its indices and certificates, bring the packages; the build then needs no index."""
    folder = ROOT / "build" / "wheels" / target
    download = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
    for lock in locks:
        _say(*download, "--no-build-isolation", "--require-hashes", "--dest", str(folder), "--requirement", str(lock))


def _debian(name: str, version: str) -> dict[str, str]:
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _num_bytes(name: str) -> int:
    """Return what a container's file system takes on disk."""
    return int(inside(name, "du", "-sxk", "/").split()[0]) * 1024


def _answers(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


def _said(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603


def _say(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, env={"DOCKER_BUILDKIT": "1", **os.environ}, check=True)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
