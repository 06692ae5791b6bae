"""How many cores this process may use."""

import os
from pathlib import Path

CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""A container's limit in cgroup v2: microseconds of CPU, or "max", and the period in which they may be used."""


def num_cores() -> int:
    """Return how many cores this process may use: the scheduler's affinity, within the container's CPU limit."""
    cores = len(os.sched_getaffinity(0))
    if not CPU_LIMIT.is_file():
        return cores
    limit, period = CPU_LIMIT.read_text(encoding="ascii").split()
    return cores if limit == "max" else max(1, min(cores, round(int(limit) / int(period))))
