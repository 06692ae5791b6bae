"""Check from inside a pod of the pipeline that its steps reach what they need."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rewardlab.home import home, tracking_uri
from steps.fetch import stored
from steps.registry.client import connect
from steps.resolve import ResolveConfig, data_version


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    name: str
    ok: bool
    detail: str

    @property
    def line(self) -> str:
        """Return the finding for a terminal."""
        return f"{'ok  ' if self.ok else 'FAIL'} {self.name}: {self.detail}"


def tried(checks: dict[str, Callable[[], str]]) -> Iterator[Finding]:
    """Yield what each check says, or why it fails."""
    for name, look in checks.items():
        try:
            yield Finding(name, ok=True, detail=look())
        except (ValueError, OSError) as error:
            yield Finding(name, ok=False, detail=str(error))


def check_cluster(config: ResolveConfig, *, remote: str) -> list[Finding]:
    """Check the registry, the data by their repository and their store, and the volume that steps share.

    Args:
        config: which data, as `resolve` is told.
        remote: which DVC remote, as `fetch` is told.
    """
    checks = {
        "registry": _registry,
        "data": lambda: f"md5 {data_version(config.repository, config.revision, config.data).md5}",
        "volume": _volume,
    }
    if not config.data:
        checks["where data are stored"] = lambda: _stored(config, remote)
    return list(tried(checks))


def _registry() -> str:
    connect()
    return tracking_uri()


def _volume() -> str:
    """Write to the claim, as the first step does that keeps a backbone there."""
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=home()) as file:
        file.write(b"x")
    return f"{home()} can be written"


def _stored(config: ResolveConfig, remote: str) -> str:
    with stored(config.repository, config.revision, remote) as files:
        first = next(iter(files.find("data")))
        files.read_bytes(first)
    return f"{first} was read"
