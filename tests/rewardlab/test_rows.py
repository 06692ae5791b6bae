"""Rows of text files as spreadsheets, notebooks and clones leave them: read as they are meant, or refused."""

import json
from pathlib import Path

import pytest

import rewardlab
from rewardlab.readers import BadRow
from rewardlab.rows import open_rows
from steps.common.data_files import data_files
from tests.command import rewardlab as command

PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}
SAID = [{"role": "assistant", "content": "b"}]


def rows(place: Path, name: str, text: str) -> list[object]:
    (place / name).write_text(text, encoding="utf-8")
    return [row for _, row in open_rows(place / name)]


@pytest.mark.parametrize(("name", "mark"), [("x.csv", ","), ("x.csv", ";"), ("x.csv", "\t"), ("x.tsv", "\t")])
def test_a_table_is_parted_as_its_header_is(tmp_path: Path, name: str, mark: str) -> None:
    text = f"\ufeffprompt{mark}chosen{mark}rejected\r\na{mark}b{mark}c\r\n"
    assert rows(tmp_path, name, text) == [PAIR]


def test_messages_in_cells_are_messages_and_other_json_is_text(tmp_path: Path) -> None:
    cells = [json.dumps(SAID), json.dumps({"from": "gpt", "value": "c"}), '[{"role": 3}]', '{"a": 1}']
    quoted = ",".join('"{}"'.format(cell.replace('"', '""')) for cell in cells)
    (row,) = rows(tmp_path, "x.csv", f"chosen,rejected,third,fourth\n{quoted}\n")
    assert row == {"chosen": SAID, "rejected": {"from": "gpt", "value": "c"}, "third": cells[2], "fourth": cells[3]}


def test_messages_as_python_prints_them_are_a_bad_row(tmp_path: Path) -> None:
    (bad,) = rows(tmp_path, "x.csv", f'prompt,chosen\na,"{SAID}"\n')
    assert isinstance(bad, BadRow)
    assert bad.reason.startswith("a cell begins like messages, but is not JSON")


def test_a_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("prompt,prompt,chosen,rejected\na,b,c,d\n")
    with pytest.raises(ValueError, match=r"x\.csv: the table has the column 'prompt' more than once"):
        rewardlab.read(tmp_path / "x.csv")


@pytest.mark.parametrize("document", [[PAIR, PAIR], {"data": [PAIR, PAIR]}, PAIR])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_document_is_an_array_or_holds_one_or_is_a_row(tmp_path: Path, document: object, indent: int) -> None:
    num = 1 if document is PAIR else 2
    assert rows(tmp_path, "x.json", json.dumps(document, indent=indent)) == [PAIR] * num


def test_json_lines_that_are_called_json_are_read_line_by_line(tmp_path: Path) -> None:
    lines = f"\n{json.dumps(PAIR)}\n{{\n"
    first, bad = rows(tmp_path, "x.json", lines)
    assert (first, isinstance(bad, BadRow)) == (PAIR, True)


def test_a_number_that_python_would_not_read_is_a_bad_row(tmp_path: Path) -> None:
    bad, good = rows(tmp_path, "x.jsonl", f'{{"margin": {"9" * 5000}}}\n{json.dumps(PAIR)}\n')
    assert (isinstance(bad, BadRow), good) == (True, PAIR)


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_a_pointer_of_git_lfs_says_how_to_get_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    done = command("ingest", "--data", tmp_path / name, "--out", tmp_path / "out")
    assert (done.code, done.complaint.endswith(f"{name} is only a pointer of Git LFS: run `git lfs pull`")) == (1, True)


def test_hidden_copies_and_what_datasets_keeps_about_data_are_no_data(tmp_path: Path) -> None:
    for name in ("a/.ipynb_checkpoints/x.jsonl", "a/._x.jsonl", "dataset_infos.json", "a/x.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(PAIR))
    assert data_files(tmp_path) == [tmp_path / "a/x.jsonl"]


@pytest.mark.parametrize("data", ["", "https://example.com/x.jsonl", "file:///x.jsonl"])
def test_an_address_of_another_kind_is_refused(data: str, tmp_path: Path) -> None:
    done = command("ingest", "--data", data, "--out", tmp_path / "out")
    assert (done.code, "data are a path, s3://bucket/path or a hub id" in done.complaint) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_damaged_parquet_says_where(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    table = pyarrow.Table.from_pylist([{**PAIR, "prompt": str(at) * 50} for at in range(5000)])
    parquet.write_table(table, path, compression="gzip", row_group_size=1000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = b"\xff" * 400
    path.write_bytes(data)
    done = command("ingest", "--data", path, "--out", tmp_path / "out")
    assert (done.code, "x.parquet is damaged behind row" in done.complaint) == (1, True)
    parquet.write_table(table.slice(0, 0), path)
    assert "x.parquet is empty" in command("ingest", "--data", path, "--out", tmp_path / "out").complaint


def test_a_row_with_countless_columns_is_named_in_short(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps({f"column{at:05}": at for at in range(10_000)}))
    complaint = command("ingest", "--data", tmp_path / "x.jsonl", "--out", tmp_path / "out").complaint
    assert "column00039 and 9960 more; known are" in complaint
    assert "are renamed with --map" in complaint
