"""Two hosts on this machine: network namespaces, joined by a cable, that see nothing but each other."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

ADDRESSES = ("10.77.0.1", "10.77.0.2")
CARD = "eth0"


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Give the names of two hosts; skip the test where the machine lets nobody make them."""
    names = (f"rewardlab-{os.getpid()}-0", f"rewardlab-{os.getpid()}-1")
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", CARD, "netns", names[0], "type", "veth", "peer", "name", CARD, "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", CARD)
            for card in (CARD, "lo"):
                _ip("-n", name, "link", "set", card, "up")
    except (OSError, subprocess.CalledProcessError) as error:
        _remove(names)
        said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        pytest.skip(f"two hosts are network namespaces, and none can be made here: {said}")
    try:
        yield names
    finally:
        _remove(names)


def on(name: str) -> list[str]:
    """Return what runs the command behind it on a host."""
    return ["ip", "netns", "exec", name]


def switch_off(name: str) -> None:
    """Kill every process of a host at once."""
    for number in map(int, _ip("netns", "pids", name).split()):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def _remove(names: tuple[str, str]) -> None:
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
