"""What this source is: its commit, and the digest of the code a step runs, which the cache's keys hold."""

import ast
import hashlib
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_ROOMS = ("rewardlab", "models", "synthetic", "steps")
_LOCKS = tuple(f"requirements/{name}.lock" for name in ("train", "backbones", "torch-cpu", "torch-cuda"))
"""What the train image installs: the packages that steps use, and none that checks, tests or documents this source."""
_PINNED = re.compile(r"^[\w.-]+(?:\[[\w,.-]+\])?==[^\s;\\]+", re.MULTILINE)


def source_digest(module: str) -> str:
    """Return the digest of a first-party module, of all it imports from these rooms, and of the locked versions.

    A change of anything else, such as a linter's rule or the version of a test's package, leaves it as it is.

    Example:
        >>> source_digest("steps.gate") == source_digest("steps.gate")
        True
    """
    files = sorted({file for name in _closure(module) for file in _files(name)})
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(ROOT).as_posix()}\0".encode() + file.read_bytes())
    for lock in (ROOT / name for name in _LOCKS):
        if lock.is_file():
            versions = _PINNED.findall(lock.read_text(encoding="utf-8"))
            total.update("\n".join([lock.name, *versions, ""]).encode())
    return total.hexdigest()


def git_commit() -> str:
    """Return the commit of this checkout, `-dirty` where files differ from it; `unknown` outside git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or "unknown"


def _closure(module: str) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imports(name)
    return found


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Return the first-party modules that a module imports anywhere in its text, and its package.

    Of a package's `__init__` only the imports at the top count: what its functions import is for their callers.
    """
    file = _module_file(module)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = []
    for node in tree.body if file.name == "__init__.py" else ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    parents = [module.rpartition(".")[0]] if "." in module else []
    wanted = [name for name in names if name.partition(".")[0] in _ROOMS and _exists(name)]
    return tuple(wanted + parents)


def _files(module: str) -> Iterator[Path]:
    """Yield a module's file and, beside a package's `__init__`, the files that are not Python, such as templates."""
    file = _module_file(module)
    yield file
    if file.name == "__init__.py":
        yield from (path for path in file.parent.glob("templates/*"))


def _exists(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _module_file(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if (path / "__init__.py").is_file() else path.with_suffix(".py")
