"""Data that lie elsewhere: S3 is a server that speaks it, the hub a stand-in with its addresses."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rewardlab.files import read_groups
from steps.common.data_location import bring, is_remote, load_hub, version
from steps.fetch import FetchConfig, fetch
from steps.resolve import data_version
from tests import stand_in_hub
from tests.command import rewardlab
from tests.s3_server import Store, s3_server

ROW = b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n'
LABELS = {"query": "a", "chosen": "b", "rejected": "c", "topic": "t"}


@dataclass
class Bucket:
    client: Any

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="bucket", Key=key, Body=data)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with s3_server() as found:
        yield found


@pytest.fixture
def bucket(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Return an empty bucket on a server of the machine, the only one that the tools see."""
    for name, value in store.variables.items():
        monkeypatch.setenv(name, value)
    store.client.create_bucket(Bucket="bucket")
    yield Bucket(store.client)
    for key in store.keys("bucket"):
        store.client.delete_object(Bucket="bucket", Key=key)
    store.client.delete_bucket(Bucket="bucket")


def test_what_is_a_path_and_what_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "pairs").mkdir(parents=True)
    remote = (
        "s3://bucket/x",
        "org/name",
        "org/name:train",
        "org/na.me@main:config/train",
        "org/n@refs/convert/parquet",
    )
    assert all(is_remote(data) for data in remote)
    paths = ("data/pairs", "data/x.jsonl.gz", "./org/name", "../name", "/org/name", "a/b/c", "name", "org/../name")
    assert not any(is_remote(data) for data in paths)


def test_the_version_of_objects_changes_with_them_and_nothing_else(bucket: Bucket) -> None:
    bucket.put("x/a.jsonl", ROW)
    before = version("s3://bucket/x")
    bucket.put("x/README.md", b"about")
    bucket.put("xy/b.jsonl", ROW)
    assert version("s3://bucket/x") == before
    bucket.put("x/a.jsonl", ROW * 2)
    assert version("s3://bucket/x") != before


def test_fetch_brings_what_was_resolved_and_refuses_what_changed(bucket: Bucket, tmp_path: Path) -> None:
    for key in ("x/a.jsonl", "x/sub/b.jsonl", "x/notes.txt"):
        bucket.put(key, ROW)
    md5 = data_version(".", "", "s3://bucket/x/").md5
    report = fetch(FetchConfig(data="s3://bucket/x", data_md5=md5), tmp_path / "out")
    assert (report.num_files, (tmp_path / "out" / "data" / "sub" / "b.jsonl").read_bytes()) == (2, ROW)
    bucket.put("x/a.jsonl", ROW * 2)
    with pytest.raises(ValueError, match="it has changed, resolve again"):
        fetch(FetchConfig(data="s3://bucket/x", data_md5=md5), tmp_path / "later")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_one_object_is_brought_as_one_file(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("x/a.jsonl", ROW)
    bring("s3://bucket/x/a.jsonl", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.jsonl"]


def test_ingest_reads_s3_with_renamed_columns(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("x/a.jsonl", json.dumps(LABELS).encode())
    options = ("--map", "prompt=query", "--map", "family=topic")
    done = rewardlab("ingest", "--data", "s3://bucket/x", "--out", tmp_path / "out", *options)
    assert done.code == 0, done.err
    assert "format pairs: recognised, sureness 1.00" in done.out
    (group,) = read_groups(tmp_path / "out" / "groups.jsonl.gz")
    assert (group.prompt[0].content, group.family) == ("a", "t")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("s3://bucket/none", "s3://bucket/none holds no data: files end in .jsonl"),
        ("s3://elsewhere/x", "s3://elsewhere/x cannot be read: The specified bucket does not exist"),
        ("s3://", "s3:// cannot be read"),
        ("s3://bucket/up", "the object 'bucket/up/../../up.jsonl' leads out of s3://bucket/up"),
    ],
)
def test_objects_that_cannot_be_brought(bucket: Bucket, tmp_path: Path, data: str, message: str) -> None:
    bucket.put("up/../../up.jsonl", ROW)
    done = rewardlab("ingest", "--data", data, "--out", tmp_path / "a" / "b" / "out")
    assert done.code == 1
    assert message in done.complaint
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_s3_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ValueError, match=r"s3://bucket/x cannot be read: .*127\.0\.0\.1:9"):
        version("s3://bucket/x")


def with_hub(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, because the hub's address is read once, at import."""
    repositories = {
        "org/one": {"train.jsonl": ROW},
        "org/two": {"train.jsonl": ROW, "test.jsonl": ROW * 2},
        "org/coded": {"coded.py": b"raise SystemExit('it ran')\n", "train.jsonl": ROW},
    }
    with stand_in_hub.serve(repositories) as address:
        environment = {
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_OFFLINE": "0",
        }
        return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_hub_id_is_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = with_hub(tmp_path, "-m", "commands.cli", "ingest", "--data", "org/two:test", "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(read_groups(out / "groups.jsonl.gz"))) == 2


def test_a_hub_id_with_remote_code_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = with_hub(tmp_path, "-m", "commands.cli", "ingest", "--data", "org/coded", "--out", str(out))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "'org/coded' is made by code of its own, and remote code is never run: take the hub's Parquet" in done.stderr
    assert not out.exists()


@pytest.mark.slow
def test_a_hub_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from steps.common.data_location import bring\n"
    code += (
        "for at, data in enumerate(sys.argv[2:]):\n  try: bring(data, Path(sys.argv[1], str(at))); print('brought')\n"
    )
    code += "  except ValueError as error: print(error)\n"
    names = ("org/one", "org/two@main:default/train", "org/two", "org/two:dev", "org/none")
    said = with_hub(tmp_path, "-c", code, str(tmp_path / "out"), *names).stdout.splitlines()
    assert said[:2] == ["brought", "brought"]
    assert said[2] == "the data set 'org/two' has the splits train, test: name one, as org/two:SPLIT"
    assert said[3].startswith('Unknown split "dev"')
    assert said[4].startswith("there is no path org/none, and no hub data set of that name can be had: 404")


def test_a_hub_version_names_commit_and_part(tmp_path: Path) -> None:
    code = "import sys; from steps.common.data_location import version; print(*map(version, sys.argv[1:]))"
    done = with_hub(tmp_path, "-c", code, "org/two:train", "org/two@main:train", "org/two:test")
    train, main, test = done.stdout.split()
    assert train == main != test


def test_a_data_set_with_a_script_is_refused_by_the_loader_too(tmp_path: Path) -> None:
    (tmp_path / "coded").mkdir()
    (tmp_path / "coded" / "coded.py").write_text("raise SystemExit('it ran')\n")
    with pytest.raises(ValueError, match="remote code is never run"):
        load_hub(str(tmp_path / "coded"), tmp_path, revision=None, config=None, split=None)
    with pytest.raises(ValueError, match="cannot be had"):
        load_hub(str(tmp_path / "nothing"), tmp_path, revision=None, config=None, split=None)
