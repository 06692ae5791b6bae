"""Say what a run is about at this moment: data by their md5, and the champion. Never cached."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewardlab.config import Config
from steps.common.data_location import is_remote, version
from steps.common.git_repository import GitRepository, is_url, opened
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
class DataVersion:
    """Data by their md5, and when they last changed, in ISO's form.

    A path changed with its newest file, what `data.dvc` points to with the pointer's last commit, or with the pointer's
    file where that was changed since. Remote places keep no time that could be relied on: "".
    """

    md5: str
    time: str


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
    data = data_version(config.repository, config.revision, config.data)
    return ResolveReport(
        data_md5=data.md5,
        test_md5=version(config.test) if config.test else "",
        data_time=data.time,
        champion=champion.to_json() if champion else "",
    )


def data_version(repository: str, revision: str, data: str) -> DataVersion:
    """Return which data a path or a remote place holds, or `data.dvc` points to where `data` is "".

    Raises:
        ValueError: there is no such data, revision or repository.
    """
    if data:
        return DataVersion(md5=version(data), time="" if is_remote(data) else _newest(Path(data)))
    cloned = is_url(repository)
    where = f"{POINTER} of {repository} at {revision or ('its default branch' if cloned else 'its working tree')}"
    with opened(repository, whole=False) as git_repository:
        md5 = _pointed_md5(git_repository, revision, where)
        return DataVersion(md5=md5, time=_pointer_time(git_repository, revision, cloned=cloned))


def _pointer_time(repository: GitRepository, revision: str, *, cloned: bool) -> str:
    """Return when the pointer to the data last changed."""
    in_the_working_tree = not revision and not cloned
    pointer = Path(repository.folder) / POINTER
    if in_the_working_tree and repository.git("status", "--porcelain", "--", POINTER).stdout:
        return _newest(pointer)
    done = repository.git("log", "-1", "--format=%cI", repository.commit(revision), "--", POINTER)
    return done.stdout.strip() or (_newest(pointer) if in_the_working_tree else "")


def _newest(path: Path) -> str:
    """Return the time of the newest file of a path."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    newest = max((each.stat().st_mtime for each in files), default=None)
    return "" if newest is None else datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")


def _pointed_md5(repository: GitRepository, revision: str, where: str) -> str:
    """Return the md5 that the pointer names, of a revision or else of the working tree; a clone has none."""
    import yaml

    path = Path(repository.folder) / POINTER
    if not revision and path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        commit = repository.commit(revision)
        done = repository.git("show", f"{commit}:./{POINTER}")
        if (done.returncode or not commit) and not revision:
            raise ValueError(f"there is no {where}: track the data with `dvc add data`, or give a path")
        if done.returncode or not commit:
            raise ValueError(f"git has no {where}")
        text = done.stdout
    try:
        outputs: Any = yaml.safe_load(text)["outs"]
        return str(outputs[0]["md5"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{where} names no md5: make it with `dvc add data`") from error
