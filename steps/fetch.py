"""Bring the data that `resolve` named, and check that they are the same."""

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.config import Config
from rewardlab.files import atomic_path, tree_digest
from steps.common.data_files import data_md5
from steps.common.data_location import bring, is_remote, version
from steps.common.git_repository import opened

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchConfig(Config):
    """Where data are, as in `ResolveConfig`, and which md5 they must have.

    `remote` is where the repository's data are stored, one of its remotes by name or an address such as
    `s3://bucket/path`; "" is the repository's default.
    """

    repository: str = "."
    revision: str = ""
    remote: str = ""
    data: str = ""
    test: str = ""
    data_md5: str
    test_md5: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchReport(Config):
    """What was brought."""

    num_files: int
    num_bytes: int
    digest: str


def fetch(config: FetchConfig, target: Path) -> FetchReport:
    """Write the folder `target`: `data/`, and `test/` where there are test data of their own.

    Raises:
        ValueError: the data cannot be reached, or are not those with the md5 given.
    """
    if bool(config.test) != bool(config.test_md5):
        raise ValueError(f"test and test_md5 belong together, got {config.test!r} and {config.test_md5!r}")
    with atomic_path(target) as scratch:
        if config.data:
            _bring(config.data, scratch / "data", config.data_md5)
        else:
            _get(config, scratch / "data")
        if config.test:
            _bring(config.test, scratch / "test", config.test_md5)
    files = [path for path in target.rglob("*") if path.is_file()]
    return FetchReport(
        num_files=len(files), num_bytes=sum(path.stat().st_size for path in files), digest=tree_digest(target)
    )


def _bring(data: str, target: Path, md5: str) -> None:
    """Bring what a path or a remote place holds into the folder `target`."""
    source = Path(data)
    if is_remote(data):
        bring(data, target)
        found = version(data)
    elif source.is_file():
        target.mkdir(parents=True)
        shutil.copy(source, target)
        found = data_md5(target / source.name)
    elif source.exists():
        shutil.copytree(source, target)
        found = data_md5(target)
    else:
        raise ValueError(f"there is no data at {data}")
    _check(found, md5, data)


@contextmanager
def stored(repository: str, revision: str, remote: str) -> "Iterator[DVCFileSystem]":
    """Yield the files that a DVC repository tracks, as of a revision, from its cache or a remote.

    Raises:
        ValueError: the repository or the files cannot be reached, or their listing leads out of the folder.
    """
    where = f"data of {repository} at {revision or 'its working tree'}" + (f" from {remote}" if remote else "")
    with warnings.catch_warnings(action="ignore"):  # DVC warns of its own deprecations
        from dvc.api import DVCFileSystem
        from dvc.exceptions import DvcException
        from dvc.scm import SCMError
        from dvc_data.index import DataIndexDirError

        try:
            with opened(repository, whole=True) as cloned:
                commit = cloned.commit(revision) if revision else None
                if commit == "":
                    raise ValueError(f"cannot bring {where}: git has no such revision")
                with closing(DVCFileSystem(cloned.folder, rev=commit, **_remote(remote))) as files:
                    yield files
        except (OSError, DvcException, SCMError, DataIndexDirError) as error:
            raise ValueError(f"cannot bring {where}: {error}") from error
        except RecursionError as error:  # so DVC ends where a name in its listing is ".."
            raise ValueError(f"cannot bring {where}: a path in its listing leads out of the folder") from error


def _get(config: FetchConfig, target: Path) -> None:
    """Bring `data` of a DVC repository from its cache or its remote."""
    where = f"data of {config.repository} at {config.revision or 'its working tree'}"
    target.parent.mkdir(parents=True)
    with stored(config.repository, config.revision, config.remote) as files:
        files.get("data", str(target), recursive=True)
    if not any(path.is_file() for path in target.rglob("*")):
        raise ValueError(f"cannot bring {where}: its listing names no file inside the folder")
    _check(data_md5(target), config.data_md5, where)


def _remote(remote: str) -> Mapping[str, str | dict[str, str]]:
    """Return what tells DVC which remote it asks."""
    if "://" in remote:
        return {"remote": "given", "remote_config": {"url": remote}}
    return {"remote": remote} if remote else {}


def _check(found: str, md5: str, where: str) -> None:
    if found != md5:
        raise ValueError(f"{where} has md5 {found}, the run was resolved to {md5}: it has changed, resolve again")
