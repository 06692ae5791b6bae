"""SIGTERM as a request: training checkpoints at the end of the step and ends."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from steps.train.launch import on_sigterm


class StoppedError(InterruptedError):
    """Training was asked to stop, and kept what it had done."""


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets while the block runs."""
    asked = threading.Event()
    with on_sigterm(asked.set):
        yield asked
