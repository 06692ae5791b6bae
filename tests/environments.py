"""Virtual environments of their own, for packages that cannot or must not share ours."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest


def environment(folder: Path, *requirements: str) -> Path:
    """Return the interpreter of a new environment with these packages; skip the test where they cannot be had."""
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "install", "--quiet", *requirements]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        pytest.skip(f"{requirements} cannot be installed: {done.stderr.strip()[-300:]}")
    return folder / "bin" / "python"


def alone() -> dict[str, str]:
    """Return this process's variables without those by which a child would find our packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
