"""Say what a run is about at this moment: data by their md5, and the champion. Never cached."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.config import Config
from steps.registry import champion_record, connect
from steps.remote import version

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

    The record is JSON, a `ChampionRecord`, or "" where there is no champion.
    """

    data_md5: str
    test_md5: str
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
    command = ["git", "-C", repository, "show", "--end-of-options", f"{revision}:./{POINTER}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
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
