"""How long the life cycle takes: the smoke run, its rerun, and the command line's help."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Row, at_most, main, median_seconds
from rewardlab.files import read_json

COMMAND = str(Path(sys.executable).parent / "rewardlab")


def measure(quick: bool) -> Sequence[Row]:
    """Run the smoke recipe in an empty home, run it again unchanged, and ask for help."""
    with tempfile.TemporaryDirectory() as folder:
        first, decision = _smoke(Path(folder), "--no-cache")
        _smoke(Path(folder))
        again, unchanged = _smoke(Path(folder))
        steps = read_json(Path(folder) / "runs" / "latest" / "summary.json")["reused"]
    help_ = median_seconds(
        lambda: subprocess.run([COMMAND, "--help"], check=True, capture_output=True), 3 if quick else 9
    )
    return [
        at_most(11, "rewardlab --help", help_, "s", 0.5),
        at_most(9, f"smoke run, no cache ({decision})", first, "s", 90.0),
        at_most(9, f"unchanged rerun, {len(steps)} steps reused ({unchanged})", again, "s", 60.0),
    ]


def _smoke(folder: Path, *options: str) -> tuple[float, str]:
    environment = {**os.environ, "REWARDLAB_HOME": str(folder / "home")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    started = time.perf_counter()
    command = [COMMAND, "run", "--recipe", "smoke", *options]
    subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True)
    seconds = time.perf_counter() - started
    return seconds, str(read_json(folder / "runs" / "latest" / "summary.json")["decision"])


if __name__ == "__main__":
    main(__doc__ or "", measure)
