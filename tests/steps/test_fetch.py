"""Resolve and fetch: the md5 is DVC's own, and what is brought is what was named."""

import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from steps.common.data_files import data_md5
from steps.fetch import FetchConfig, fetch
from steps.resolve import changed, resolve_data

CONFIG = "[core]\nanalytics=false\nremote=store\n['remote \"store\"']\nurl=store\n"


def run(repository, *command):
    subprocess.run(command, cwd=repository, check=True, capture_output=True)


def commit(repository):
    run(repository, "git", "add", "-A")
    run(repository, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "data")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with two versions of a folder of data and its remote inside."""
    root = tmp_path_factory.mktemp("repository")
    run(root, "git", "init", "-q", "-b", "main")
    (root / ".gitignore").write_text("/data\n")
    with warnings.catch_warnings(action="ignore"):
        from dvc.repo import Repo

        Repo.init(str(root)).close()
        (root / ".dvc" / "config").write_text(CONFIG)
        for text in ("one", "two"):
            (root / "data" / "sub").mkdir(parents=True, exist_ok=True)
            for name in ("b.jsonl", "a-b.jsonl", "sub/a.jsonl", "ü.jsonl"):
                (root / "data" / name).write_text(f"{text} {name}\n")
            with Repo(str(root)) as dvc:
                dvc.add(str(root / "data"))
                dvc.push()
            commit(root)
    shutil.rmtree(root / ".dvc" / "cache")
    return root


def test_the_md5_of_a_folder_is_the_one_dvc_writes(repository):
    md5 = resolve_data(str(repository), "", "")
    assert md5.endswith(".dir")
    assert md5 == data_md5(repository / "data") == resolve_data("", "", str(repository / "data"))
    assert resolve_data(str(repository), "HEAD", "") == md5
    assert resolve_data(str(repository), "HEAD~1", "") != md5


def test_data_have_changed_when_their_pointer_was_committed_or_a_file_was_written(repository, tmp_path):
    times = [
        subprocess.run(
            ["git", "log", "-1", "--format=%cI", revision], cwd=repository, check=True, capture_output=True, text=True
        ).stdout.strip()
        for revision in ("HEAD", "HEAD~1")
    ]
    assert [changed(str(repository), revision, "") for revision in ("HEAD", "HEAD~1")] == times
    assert changed(str(repository), "", "") == times[0]
    copy = shutil.copytree(repository, tmp_path / "copy")
    (copy / "data.dvc").write_text("outs: []\n")
    os.utime(copy / "data.dvc", (1e9, 1e9))
    assert changed(str(copy), "", "") == "2001-09-09T01:46:40+00:00"  # not yet committed
    for at, name in enumerate(("old", "new")):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "file").touch()
        os.utime(tmp_path / "data" / name / "file", (at, at))
    assert changed("", "", str(tmp_path / "data")) == "1970-01-01T00:00:01+00:00"
    assert changed("", "", str(tmp_path / "data" / "old" / "file")) == "1970-01-01T00:00:00+00:00"


def test_when_data_elsewhere_changed_is_not_known(tmp_path):
    assert changed("", "", "s3://bucket/data") == changed("https://host/repository", "main", "") == ""
    assert changed(str(tmp_path), "HEAD", "") == changed("", "", str(tmp_path)) == ""


def test_a_url_resolves_to_the_same_md5(repository):
    assert resolve_data(f"file://{repository}", "main", "") == data_md5(repository / "data")


def test_fetch_brings_an_older_revision(repository, tmp_path):
    md5 = resolve_data(str(repository), "HEAD~1", "")
    report = fetch(FetchConfig(repository=str(repository), revision="HEAD~1", data_md5=md5), tmp_path / "out")
    assert (tmp_path / "out" / "data" / "sub" / "a.jsonl").read_text() == "one sub/a.jsonl\n"
    assert report.num_files == 4


def test_fetch_copies_a_path_and_test_data(tmp_path):
    for name in ("train.jsonl", "held.jsonl"):
        (tmp_path / name).write_text(name)
    paths = {"data": str(tmp_path / "train.jsonl"), "test": str(tmp_path / "held.jsonl")}
    md5s = {f"{name}_md5": resolve_data("", "", path) for name, path in paths.items()}
    fetch(FetchConfig(**paths, **md5s), tmp_path / "out")
    assert (tmp_path / "out" / "data" / "train.jsonl").exists()
    assert (tmp_path / "out" / "test" / "held.jsonl").exists()


def test_changed_data_are_refused_and_nothing_is_left(repository, tmp_path):
    (tmp_path / "x.jsonl").write_text("x")
    for config in (
        FetchConfig(data=str(tmp_path / "x.jsonl"), data_md5="0" * 32),
        FetchConfig(repository=str(repository), data_md5="0" * 32 + ".dir"),
    ):
        with pytest.raises(ValueError, match="it has changed, resolve again"):
            fetch(config, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_an_unknown_revision_or_path_is_refused(repository):
    with pytest.raises(ValueError, match=r"git has no data\.dvc"):
        resolve_data(str(repository), "nowhere", "")
    with pytest.raises(ValueError, match="there is no data at"):
        resolve_data(".", "", "no/such/path")
    with pytest.raises(ValueError, match="track the data"):
        resolve_data(str(Path(repository) / "data"), "", "")
