"""How long the published library takes to import."""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Row, at_most, main

ROOM = Path(__file__).resolve().parent.parent / "rewardlab"
_WATCH = "import time; start = time.perf_counter(); import rewardlab; print(time.perf_counter() - start)"


def measure(quick: bool) -> Sequence[Row]:
    """Import the package in fresh processes that see none of the other rooms."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rewardlab").symlink_to(ROOM)
        command, environment = [sys.executable, "-c", _WATCH], {**os.environ, "PYTHONPATH": folder}
        done = [
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
            for _ in range(3 if quick else 15)
        ]
    return [at_most(5, "import rewardlab", statistics.median(float(each.stdout) for each in done), "s", 0.3)]


if __name__ == "__main__":
    main(__doc__ or "", measure)
