"""Say what a run is about at this moment: data by their md5, and the champion. Never cached."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewardlab.config import Config
from steps.common.data_location import is_remote, version
from steps.registry.client import champion_record, connect

POINTER = "data.dvc"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolveConfig(Config):
    """Which data and which registered model, `name`.

    `data` is a path, an `s3://` address or a hub id, or "" for what `data.dvc` of the repository points to at a git
    revision.

    `repository` is a local git repository or a URL; `revision` "" is its working tree (of a URL: the default
    branch). `test` names test data of their own in the same way, or is "".
    """

    name: str
    repository: str = "."
    revision: str = ""
    data: str = ""
    test: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolveReport(Config):
    """The md5 of the data and of the test data ("" where there are none of their own), and the champion's record.

    `data_time` is when the data last changed, in ISO's form, or "" where that cannot be known. The record is JSON, a
    `ChampionRecord`, or "" where there is no champion.
    """

    data_md5: str
    test_md5: str
    data_time: str
    champion: str


def resolve(config: ResolveConfig) -> ResolveReport:
    """Return the md5s that name the data of a run, and who is champion.

    Raises:
        ValueError: there is no such data, revision or repository, or the registry cannot be reached.
    """
    champion = champion_record(connect(), config.name)
    return ResolveReport(
        data_md5=resolve_data(config.repository, config.revision, config.data),
        test_md5=version(config.test) if config.test else "",
        data_time=changed(config.repository, config.revision, config.data),
        champion=champion.to_json() if champion else "",
    )


def resolve_data(repository: str, revision: str, data: str) -> str:
    """Return the md5 of a path or a remote place, or of what `data.dvc` points to when `data` is "".

    Raises:
        ValueError: there is no such data, revision or repository.
    """
    if data:
        return version(data)
    where = f"{POINTER} of {repository} at {revision or 'its working tree'}"
    return _pointed_md5(_pointer(repository, revision, where), where)


def changed(repository: str, revision: str, data: str) -> str:
    """Return when data last changed: a path by its newest file, what `data.dvc` points to by the pointer's last commit.

    A pointer that was changed since its last commit counts by its file. "" for remote places, which keep no such time
    that could be relied on.
    """
    if data:
        return "" if is_remote(data) else _newest(Path(data))
    if "://" in repository or repository.startswith("git@"):
        return ""
    pointer = Path(repository) / POINTER
    if not revision and _git(repository, "status", "--porcelain", "--", POINTER).stdout:
        return _newest(pointer)
    done = _git(repository, "log", "-1", "--format=%cI", revision or "HEAD", "--", POINTER)
    return done.stdout.strip() or ("" if revision else _newest(pointer))


def _newest(path: Path) -> str:
    """Return the time of the newest file of a path."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    newest = max((each.stat().st_mtime for each in files), default=None)
    return "" if newest is None else datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")


def _git(repository: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", "-C", repository, *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607


def _pointer(repository: str, revision: str, where: str) -> str:
    if "://" in repository or repository.startswith("git@"):
        return _remote_pointer(repository, revision, where)
    if revision:
        return _git_show(repository, revision, where)
    path = Path(repository) / POINTER
    if not path.is_file():
        raise ValueError(f"there is no {where}: track the data with `dvc add data`, or give a path")
    return path.read_text(encoding="utf-8")


def _git_show(repository: str, revision: str, where: str) -> str:
    done = _git(repository, "show", "--end-of-options", f"{revision}:./{POINTER}")
    if done.returncode:
        raise ValueError(f"git has no {where}: {done.stderr.strip()}")
    return done.stdout


def _remote_pointer(repository: str, revision: str, where: str) -> str:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    try:
        return str(DVCFileSystem(repository, rev=revision or None).read_text(POINTER))
    except (OSError, DvcException, SCMError) as error:
        raise ValueError(f"there is no {where}: {error}") from error


def _pointed_md5(pointer: str, where: str) -> str:
    import yaml

    try:
        outputs: Any = yaml.safe_load(pointer)["outs"]
        return str(outputs[0]["md5"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{where} names no md5: make it with `dvc add data`") from error
