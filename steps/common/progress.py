"""Progress of long loops: a bar on a terminal, one line every 5 seconds elsewhere."""

import sys
from typing import TYPE_CHECKING, Never

if TYPE_CHECKING:
    from tqdm import tqdm


def progress(total: int, label: str, *, unit: str = "groups", shown: bool = True) -> "tqdm[Never]":
    """Return a progress bar with throughput and time to go; use it as a context and `update` it.

    Of several processes that do the same, one has it `shown`.
    """
    from tqdm import tqdm

    interval, delay = (0.2, 0.0) if sys.stderr.isatty() else (5.0, 5.0)
    return tqdm(
        total=total or None,
        desc=label,
        unit=unit,
        dynamic_ncols=True,
        delay=delay,
        mininterval=interval,
        maxinterval=interval,
        disable=not shown,
    )
