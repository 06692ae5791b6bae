"""The engine and the images that tests in containers need, or the reason why they are left out."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.local.images import image


@contextlib.contextmanager
def engine_socket(folder: Path) -> Iterator[str]:
    """Yield the address of an engine that has this source's images: Podman's own service, kept up for so long."""
    if not shutil.which("podman"):
        pytest.skip("podman is not here: nothing runs in containers")
    for target in ("train", "serve"):
        if subprocess.run(["podman", "image", "exists", image(target)], check=False).returncode:
            pytest.skip(f"there is no image {image(target)}: `make image` builds it")
    path = folder / "podman.sock"
    command = ["podman", "system", "service", "--time", "0", f"unix://{path}"]
    service = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if path.is_socket():
                break
            time.sleep(0.05)
        yield f"unix://{path}"
    finally:
        service.terminate()
        service.wait()


def podman(*arguments: str, text: str = "") -> str:
    """Return what podman prints."""
    done = subprocess.run(["podman", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def installed(target: str) -> dict[str, str]:
    """Return the Python packages in an image, by their own metadata."""
    code = "from importlib.metadata import distributions as d; [print(e.name, e.version) for e in d()]"
    said = podman("run", "--rm", "--network", "none", "--entrypoint", "python", image(target), "-c", code)
    return dict(line.split() for line in said.splitlines())
