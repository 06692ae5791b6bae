"""A PostgreSQL cluster of the tests' own, for as long as a block lasts."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT_USER = 0


def postgres_binaries() -> Path | None:
    """Return the folder of Debian's PostgreSQL, or None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL cluster in a temporary folder; yield its address for SQLAlchemy.

    It listens on a socket in that folder alone. Root may not run PostgreSQL, so that there the user `postgres` does.
    """
    binaries = postgres_binaries()
    assert binaries is not None
    user = "postgres" if os.getuid() == ROOT_USER else None
    with TemporaryDirectory(prefix="postgres-") as folder:
        if user:
            shutil.chown(folder, user)
        data = Path(folder) / "data"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"],
            check=True,
            capture_output=True,
            user=user,
            cwd=folder,
        )
        command = [binaries / "postgres", "-D", data, "-k", folder, "-h", "", "-F", "-N", "200"]
        with (Path(folder) / "log").open("w") as log:
            process = subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log)
        try:
            ready = [binaries / "pg_isready", "-h", folder, "-q"]
            _wait(lambda: subprocess.run(ready, check=False).returncode == 0, process)
            yield f"postgresql+psycopg2://postgres@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def _wait(ready: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    """Wait until a server is ready; it must not end before."""
    until = time.monotonic() + 180
    while not ready():
        assert process.poll() is None, "the server ended at once"
        assert time.monotonic() < until, "the server is not ready after 3 minutes"
        time.sleep(0.2)
