"""Resolve and fetch: the md5 is DVC's own, and what is brought is what was named."""

import base64
import os
import shutil
import subprocess
import sys
import threading
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from steps.common.credentials import GIT_KNOWN_HOSTS, GIT_PASSWORD, GIT_SSH_KEY, GIT_USERNAME
from steps.common.data_files import data_md5
from steps.fetch import FetchConfig, fetch
from steps.resolve import data_version

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
    run(root, "git", "branch", "side", "HEAD~1")
    shutil.rmtree(root / ".dvc" / "cache")
    return root


def test_the_md5_of_a_folder_is_the_one_dvc_writes(repository):
    md5 = data_version(str(repository), "", "").md5
    assert md5.endswith(".dir")
    assert md5 == data_md5(repository / "data") == data_version("", "", str(repository / "data")).md5
    assert data_version(str(repository), "HEAD", "").md5 == md5
    assert data_version(str(repository), "HEAD~1", "").md5 != md5


def test_data_have_changed_when_their_pointer_was_committed_or_a_file_was_written(repository, tmp_path):
    times = [
        subprocess.run(
            ["git", "log", "-1", "--format=%cI", revision], cwd=repository, check=True, capture_output=True, text=True
        ).stdout.strip()
        for revision in ("HEAD", "HEAD~1")
    ]
    assert [data_version(str(repository), revision, "").time for revision in ("HEAD", "HEAD~1")] == times
    assert data_version(str(repository), "", "").time == times[0]
    copy = shutil.copytree(repository, tmp_path / "copy")
    (copy / "data.dvc").write_text((copy / "data.dvc").read_text() + "# changed\n")
    os.utime(copy / "data.dvc", (1e9, 1e9))
    assert data_version(str(copy), "", "").time == "2001-09-09T01:46:40+00:00"  # not yet committed
    for at, name in enumerate(("old", "new")):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "file").touch()
        os.utime(tmp_path / "data" / name / "file", (at, at))
    assert data_version("", "", str(tmp_path / "data")).time == "1970-01-01T00:00:01+00:00"
    assert data_version("", "", str(tmp_path / "data" / "old" / "file")).time == "1970-01-01T00:00:00+00:00"


@pytest.mark.parametrize("revision", ["", "main", "side", "HEAD~1"])
def test_a_url_resolves_to_what_the_folder_does(repository, revision, tmp_path):
    url = f"file://{repository}"
    found = data_version(url, revision, "")
    assert found == data_version(str(repository), revision, "")
    fetch(FetchConfig(repository=url, revision=revision, data_md5=found.md5), tmp_path / "out")
    assert (tmp_path / "out" / "data" / "b.jsonl").is_file()


def test_a_repository_that_cannot_be_cloned_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"git cannot clone file://{tmp_path}/lost: "):
        data_version(f"file://{tmp_path}/lost", "", "")


PASSWORD = "a-token-of-somebody"  # pragma: allowlist secret


class _Private(SimpleHTTPRequestHandler):
    """Files for whoever knows user and password."""

    def do_GET(self):
        known = base64.b64encode(f"x-token:{PASSWORD}".encode()).decode()
        if self.headers["Authorization"] == f"Basic {known}":
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()

    def log_message(self, *_):
        pass


def test_a_private_repository_is_read_over_https_with_the_secrets_password(repository, tmp_path, monkeypatch):
    bare = tmp_path / "bare.git"
    run(tmp_path, "git", "clone", "-q", "--bare", str(repository), str(bare))
    run(bare, "git", "update-server-info")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Private, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/bare.git"
    try:
        with pytest.raises(ValueError, match="git cannot clone"):
            data_version(url, "", "")
        monkeypatch.setenv(GIT_USERNAME, "x-token")
        monkeypatch.setenv(GIT_PASSWORD, PASSWORD)
        assert data_version(url, "main", "") == data_version(str(repository), "main", "")
    finally:
        server.shutdown()
        server.server_close()


def test_a_private_repository_is_read_over_ssh_with_the_secrets_key(repository, tmp_path, monkeypatch):
    ssh = tmp_path / "ssh"  # runs git on this machine, if it is given the key and the hosts that are known
    ssh.write_text(
        f"""#!{sys.executable}
import os, shlex, sys
words = sys.argv[1:]
assert open(words[words.index("-i") + 1]).read() == "KEY\\n"
assert os.stat(words[words.index("-i") + 1]).st_mode & 0o77 == 0
(hosts,) = [word.partition("=")[2] for word in words if word.startswith("UserKnownHostsFile=")]
assert open(hosts).read() == "host ssh-ed25519 AAAA\\n"
command = shlex.split(words[-1])
os.execvp(command[0], command)
"""
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(GIT_SSH_KEY, "KEY")
    monkeypatch.setenv(GIT_KNOWN_HOSTS, "host ssh-ed25519 AAAA")
    assert data_version(f"git@host:{repository}", "main", "") == data_version(str(repository), "main", "")


def test_fetch_brings_an_older_revision(repository, tmp_path):
    md5 = data_version(str(repository), "HEAD~1", "").md5
    report = fetch(FetchConfig(repository=str(repository), revision="HEAD~1", data_md5=md5), tmp_path / "out")
    assert (tmp_path / "out" / "data" / "sub" / "a.jsonl").read_text() == "one sub/a.jsonl\n"
    assert report.num_files == 4


def test_fetch_copies_a_path_and_test_data(tmp_path):
    for name in ("train.jsonl", "held.jsonl"):
        (tmp_path / name).write_text(name)
    paths = {"data": str(tmp_path / "train.jsonl"), "test": str(tmp_path / "held.jsonl")}
    md5s = {f"{name}_md5": data_version("", "", path).md5 for name, path in paths.items()}
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
        data_version(str(repository), "nowhere", "")
    with pytest.raises(ValueError, match="there is no data at"):
        data_version(".", "", "no/such/path")
    with pytest.raises(ValueError, match="track the data"):
        data_version(str(Path(repository) / "data"), "", "")
