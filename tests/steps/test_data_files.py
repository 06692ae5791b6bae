"""Sources: every kind of file as numbered rows, every kind of damage as a clear error."""

import gzip
import json

import pytest

from rewardlab.readers import BadRow
from steps.common.data_files import data_files, data_md5, open_rows

ROW = {"prompt": "Hé", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.json", "x.csv", "x.csv.gz", "x.parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name):
    path = tmp_path / name
    if name.endswith("parquet"):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist([ROW]), path)
    else:
        table = "prompt,chosen,rejected,margin\nHé,a,b,\n"
        text = table if "csv" in name else json.dumps([ROW]) if name == "x.json" else json.dumps(ROW) + "\n\n"
        data = ("\ufeff" + text).encode()
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith("gz") else data)
    assert [row for _, row in open_rows(path)] == [ROW]


def test_invalid_json_is_a_bad_row_with_its_line(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(ROW) + "\n\n{'prompt': 1}\n" + json.dumps(ROW) + "\n")
    first, (line, bad), last = open_rows(path)
    assert (first[0], line, last[0]) == (1, 3, 4)
    assert isinstance(bad, BadRow)
    assert "invalid JSON" in bad.reason


def test_a_table_row_with_too_many_cells_is_bad(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("prompt,chosen,rejected\na,b,c,d\na,b,c\n")
    (_, bad), (_, good) = open_rows(path)
    assert isinstance(bad, BadRow)
    assert good == {"prompt": "a", "chosen": "b", "rejected": "c"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(json.dumps(ROW).encode() * 100, mtime=0)[:-20], "is cut short"),
        (gzip.compress(b"{}\n" * 9, mtime=0)[:-8] + b"\0" * 8, "is damaged"),
        ('{"prompt": "é"}'.encode("latin-1"), "is not UTF-8 behind line 0"),
        ('{"prompt": "é"}'.encode("utf-16"), "is not UTF-8"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(tmp_path, data, message):
    path = tmp_path / "x.jsonl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        list(open_rows(path))


@pytest.mark.parametrize("data", [b"[1, 2", b"[" * 100_000])
def test_a_json_array_that_does_not_close_is_no_array(tmp_path, data):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.json is not a JSON array"):
        list(open_rows(tmp_path / "x.json"))


def test_a_folder_gives_its_data_files_by_name(tmp_path):
    for name in ("b.jsonl", "a.csv", "README.md", ".hidden.json"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in data_files(tmp_path)] == ["a.csv", "b.jsonl"]


def test_a_folder_without_data_and_an_unknown_file_are_refused(tmp_path):
    (tmp_path / "README.md").write_text("x")
    for path, message in (
        (tmp_path, "holds no data"),
        (tmp_path / "README.md", "is none of"),
        (tmp_path / "no", "exist"),
    ):
        with pytest.raises(ValueError, match=message):
            data_files(path)
    with pytest.raises(ValueError, match="no folder that holds one"):
        data_md5(tmp_path / "no")


def test_what_a_table_leaves_empty_inside_a_row_is_left_out(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    turns = [{"role": "user", "content": "a", "name": None}, {"role": "user", "content": "b", "name": "n"}]
    parquet.write_table(pyarrow.Table.from_pylist([{"prompt": turns}]), tmp_path / "x.parquet")
    ((_, row),) = open_rows(tmp_path / "x.parquet")
    assert row == {"prompt": [{"role": "user", "content": "a"}, turns[1]]}


def test_shards_of_every_kind_are_read_from_folders_inside_folders(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a-00000-of-00002.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROW).encode(), mtime=0))
    (tmp_path / "train" / "a-00001-of-00002.json").write_text(json.dumps([ROW]))
    files = data_files(tmp_path)
    assert [path.name for path in files] == ["a-00000-of-00002.jsonl.gz", "a-00001-of-00002.json"]
    assert [row for path in files for _, row in open_rows(path)] == [ROW, ROW]
