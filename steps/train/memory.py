"""How much memory this process has used at most."""

import resource

import torch

from steps.train.world import World


def peaks(world: World) -> dict[str, float]:
    """Return the peak resident set, and the peak of what torch held on a GPU, in bytes; the highest of any process.

    Linux counts the resident set in KiB (getrusage(2)).
    """
    found = {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if world.device.type == "cuda":
        found["peak_device_bytes"] = torch.cuda.max_memory_allocated(world.device)
    return {name: float(world.max(value)) for name, value in found.items()}
