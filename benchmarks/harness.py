"""What every benchmark shares: its command line, the machine, versions, and rows with a verdict."""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from rewardlab.files import write_json

Status = Literal["met", "missed", "not_run"]
_PACKAGES = ("torch", "transformers", "onnxruntime", "kfp", "mlflow", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured claim; `row` is the number of the line that asks for it."""

    row: int
    name: str
    value: float | None
    unit: str
    ratio: float | None = None
    target: float | None = None
    status: Status
    why: str = ""


def main(doc: str, measure: Callable[[bool], Sequence[Row]]) -> None:
    """Run a benchmark's `measure(quick)` and write its rows as the contract says."""
    arguments = parser(doc).parse_args()
    report(arguments.json, measure(arguments.quick))


def parser(doc: str) -> argparse.ArgumentParser:
    """Return the command line that every benchmark has, for one that needs more."""
    options = argparse.ArgumentParser(description=doc)
    options.add_argument("--json", type=Path, required=True, help="file to write")
    options.add_argument("--quick", action="store_true", help="fewer repeats")
    return options


def report(target: Path, rows: Sequence[Row]) -> None:
    """Write rows as the contract says, and print them."""
    write_json(
        target,
        {
            "machine": machine(),
            "versions": {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
            "rows": [asdict(row) for row in rows],
        },
    )
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.3g} {row.unit}"
        print(f"{row.row:>3} {row.name:<44} {value:<12} target {row.target}  {row.status} {row.why}")


def at_most(row: int, name: str, value: float, unit: str, target: float, why: str = "") -> Row:
    """Return a row that is met when the value does not exceed its target."""
    status: Status = "met" if value <= target else "missed"
    return Row(row=row, name=name, value=value, unit=unit, target=target, status=status, why=why)


def at_least(row: int, name: str, value: float, unit: str, target: float, why: str = "") -> Row:
    """Return a row that is met when the value reaches its target."""
    status: Status = "met" if value >= target else "missed"
    return Row(row=row, name=name, value=value, unit=unit, target=target, status=status, why=why)


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median wall-clock seconds of a piece of work."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def machine() -> dict[str, Any]:
    """Return what a result was measured on."""
    return {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.platform()}


def _cpu() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
