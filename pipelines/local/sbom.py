"""The software bill of materials of an image, as CycloneDX: what the locks say pip installs, and Debian's packages."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote


def materials(image: str, locks: Sequence[Path], *, debian: str) -> dict[str, Any]:
    """Return the bill of an image as a CycloneDX document.

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


def _debian(name: str, version: str) -> dict[str, str]:
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
