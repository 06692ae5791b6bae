import resource
import subprocess
import sys
from pathlib import Path

import pytest

from rewardlab.files import (
    atomic_path,
    pack,
    parse_group,
    read_chunks,
    read_groups,
    tree_digest,
    write_groups,
    write_json,
    write_text,
)
from rewardlab.groups import Message, PreferenceGroup

GROUPS = [PreferenceGroup(id=str(n), prompt=(Message("user", "Hi é"),), responses=("a", "b")) for n in range(3)]


def test_an_error_leaves_the_old_file_and_no_scratch(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def fail() -> None:
        with atomic_path(target) as scratch:
            scratch.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with atomic_path(tmp_path / "folder") as scratch:
            scratch.mkdir()
            (scratch / content).touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]


def test_groups_round_trip_and_are_byte_identical(tmp_path: Path) -> None:
    write_groups(tmp_path / "a.jsonl.gz", GROUPS)
    write_groups(tmp_path / "b.jsonl.gz", iter(GROUPS))
    assert list(read_groups(tmp_path / "a.jsonl.gz")) == GROUPS
    assert tree_digest(tmp_path / "a.jsonl.gz") == tree_digest(tmp_path / "b.jsonl.gz")


def test_chunks_hold_every_line_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_groups(tmp_path / "a.jsonl.gz", GROUPS)
    assert [list(map(parse_group, chunk)) for chunk in read_chunks(tmp_path / "a.jsonl.gz")] == [GROUPS]
    monkeypatch.setattr("rewardlab.files._CHUNK_BYTES", 100)
    chunks = list(read_chunks(tmp_path / "a.jsonl.gz"))
    assert [list(map(parse_group, chunk)) for chunk in chunks] == [GROUPS[:2], GROUPS[2:]]
    with pack(tmp_path / "b.jsonl.gz") as packed:
        packed.writelines(line for chunk in chunks for line in chunk)
    assert tree_digest(tmp_path / "a.jsonl.gz") == tree_digest(tmp_path / "b.jsonl.gz")


def test_digest_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    write_text(tmp_path / "x" / "a", "1")
    before = tree_digest(tmp_path / "x")
    (tmp_path / "x" / "a").rename(tmp_path / "x" / "b")
    assert tree_digest(tmp_path / "x") != before


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: the write fails in the middle, as it would there."""
    code = (
        "import signal, sys; from pathlib import Path; from rewardlab.files import write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try: write_text(Path(sys.argv[1]) / 'big', 'x' * 100000)\n"
        "except OSError as error: print(error.strerror)"
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], preexec_fn=limit, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "File too large"
    assert not list(tmp_path.iterdir())
