"""Wrong input: a message that says what to do, the exit code, and nothing half-written."""

import gzip
import hashlib
import json
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest

from rewardlab.bundle import MANIFEST, Bundle
from rewardlab.files import read_json, write_json
from steps.fetch import FetchConfig, fetch
from steps.resolve import data_version
from tests.command import Done, read_lines, rewardlab, write_lines

PAIR = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}
LINE = json.dumps(PAIR).encode() + b"\n"
NATIVE = {"prompt": "Hi", "responses": ["a", "b"]}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path) -> list[str]:
    """Return all that is in a folder, hidden files too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def train(data: Path, *settings: str) -> Done:
    return rewardlab("train", "--recipe", "smoke", "--data", data, "--out", "made", *settings)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b"", "x.jsonl is empty"),
        ("x.jsonl.gz", gzip.compress(LINE * 999, mtime=0)[:-30], "x.jsonl.gz is cut short behind line"),
        ("x.jsonl", b"\n\n{'prompt'\n", "no row of x.jsonl can be read: x.jsonl line 3: invalid JSON"),
        ("x.jsonl", LINE + '{"prompt": "é"}\n'.encode("latin-1"), "x.jsonl is not UTF-8 behind line 0"),
        ("x.csv", LINE.decode().encode("utf-16"), "x.csv is not UTF-8 behind line 0"),
        ("folder/README.md", LINE, "the folder folder holds no data: files end in .jsonl, .ndjson, .json, .csv"),
    ],
)
def test_files_that_cannot_be_read(name: str, content: bytes, message: str, place: Path) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(content)
    before = written(place)
    done = rewardlab("ingest", "--data", Path(name).parts[0], "--out", "out")
    assert (done.code, done.out) == (1, "")
    assert message in done.complaint
    assert written(place) == before


ROWS: list[tuple[dict[str, Any], str]] = [
    ({**NATIVE, "prompt": [{"role": "oracle", "content": "Hi"}]}, "role is one of system, user, assistant, tool"),
    ({**NATIVE, "comparisons": [{"better": 0, "worse": 2}]}, "comparison index 2 is out of range: 2 responses"),
    ({**NATIVE, "comparisons": [{"better": 0, "worse": -1}]}, "comparison index -1 is out of range"),
    ({**NATIVE, "comparisons": [{"better": 0, "worse": 1, "strength": 0.3}]}, "strength is in [0.5, 1], got 0.3: swap"),
    ({**NATIVE, "votes": [{"better": 0, "worse": 1, "strength": 1.1}]}, "strength is in [0.5, 1], got 1.1"),
    ({**NATIVE, "comparisons": [{"better": 0, "worse": 1, "strength": "much"}]}, "not a preference group"),
]


@pytest.mark.parametrize(("row", "message"), ROWS)
def test_rows_that_cannot_be_read(row: dict[str, Any], message: str, place: Path) -> None:
    write_lines(Path("x.jsonl"), [row])
    done = rewardlab("ingest", "--data", "x.jsonl", "--out", "out")
    assert done.code == 1
    assert f"x.jsonl line 1: {message}" in done.complaint
    assert written(place) == ["x.jsonl"]


def test_bad_rows_among_good_ones_are_kept_apart_with_their_lines() -> None:
    write_lines(Path("x.jsonl"), [{**NATIVE, "scores": {"gold": [1, 2]}}, *(row for row, _ in ROWS), "{"])
    done = rewardlab("ingest", "--data", "x.jsonl", "--out", "out")
    assert done.code == 0
    assert done.out.startswith(f"groups in out: 1; unreadable rows: {len(ROWS) + 1}\n")
    kept = read_lines(Path("out/unreadable.jsonl"))
    assert [entry["line"] for entry in kept] == list(range(2, len(ROWS) + 3))
    assert [message in entry["reason"] for entry, (_, message) in zip(kept, ROWS, strict=False)] == [True] * len(ROWS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rejected": " \n"}, "no_response_is_empty"),
        ({"rejected": "Hello"}, "responses_differ"),
        ({"rejected": "Go.\n\nHuman: Why?"}, "responses_hold_no_turn_marker"),
        ({"rejected": "Go.<|im_end|>\n<|im_start|>user\nWhy?"}, "responses_hold_no_turn_marker"),
        ({"rejected": "x" * 10_000_000}, "no_response_is_too_long"),
    ],
)
def test_data_whose_rows_are_all_quarantined(changes: dict[str, str], reason: str, place: Path) -> None:
    done = train(write_lines(place / "x.jsonl", [{**PAIR, **changes}]))
    assert (done.code, done.out) == (1, "")
    assert done.complaint == f"all 1 groups are quarantined: 1 {reason}"
    assert sorted(path.name for path in (place / "made").iterdir()) == ["data", "groups"]


def test_100_000_responses_in_one_group_are_quarantined_quickly(place: Path) -> None:
    texts = [f"answer {at}" for at in range(100_000)]
    row = {"prompt": "Hi", "responses": texts, "comparisons": [{"better": 0, "worse": 99_999}]}
    done = train(write_lines(place / "x.jsonl", [row]))
    assert (done.code, "all 1 groups are quarantined" in done.complaint) == (1, True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"responses": ["a"] * 100_000, "preferences": [0, 1]}, "100000 responses make 4999950000 pairs, got 2"),
        ({"chosen": ["a"] * 50_000, "rejected": ["b"] * 50_000}, "at most 256 responses can be compared pair by pair"),
    ],
)
def test_100_000_responses_are_never_compared_pair_by_pair(row: dict[str, Any], message: str) -> None:
    write_lines(Path("x.jsonl"), [{"prompt": "Hi", **row}])
    done = rewardlab("ingest", "--data", "x.jsonl", "--out", "out")
    assert (done.code, message in done.complaint) == (1, True)


@pytest.mark.slow
def test_huge_requests_are_scored(tiny_bundle: Path) -> None:
    rows = [{"prompt": "Hi", "responses": ["x" * 10_000_000, "x" * 10_000]}]
    rows += [{"prompt": "Hi", "responses": [str(at) for at in range(100_000)]}]
    write_lines(Path("x.jsonl"), rows)
    assert rewardlab("score", "--in", "x.jsonl", "--out", "y.jsonl", "--model", tiny_bundle).code == 0
    long, many = read_lines(Path("y.jsonl"))
    assert (long["truncated"], long["rewards"][0] == long["rewards"][1]) == ([True, True], True)
    assert len(set(many["rewards"])) > 1000


def test_special_tokens_and_fake_turns_in_a_response_are_scored_as_text(tiny_bundle: Path) -> None:
    texts = ["Yes.", "Yes.<|im_end|>", "Yes.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes."]
    write_lines(Path("x.jsonl"), [{"prompt": "Hi", "responses": texts}])
    assert rewardlab("score", "--in", "x.jsonl", "--out", "y.jsonl", "--model", tiny_bundle).code == 0
    (answer,) = read_lines(Path("y.jsonl"))
    assert len(set(answer["rewards"])) == 3


def tokenizer(folder: Path, target: Path, **values: Any) -> Path:
    """Copy a backbone with other settings of its tokenizer."""
    shutil.copytree(folder, target)
    write_json(target / "tokenizer_config.json", read_json(target / "tokenizer_config.json") | values)
    (target / "special_tokens_map.json").unlink(missing_ok=True)
    return target


@pytest.mark.parametrize(
    ("values", "template", "message"),
    [
        ({"pad_token": None}, "", "tokenizer has no pad token: set pad_token"),
        ({"pad_token": "<|im_end|>"}, "", "pad and end of turn are the same token"),
        (
            {},
            "{{ strftime_now('%Y') }}{{ messages[0].content }}",
            "the chat template depends on the date (strftime_now)",
        ),
    ],
)
def test_tokenizers_that_cannot_be_read_out(
    values: dict[str, Any], template: str, message: str, tiny_folder: Path, place: Path
) -> None:
    backbone = tokenizer(tiny_folder, place / "backbone", **values)
    if template:
        (backbone / "chat_template.jinja").write_text(template)
    rows = [{**PAIR, "prompt": f"Question {at}?", "chosen": f"{at} is {'short' * (at % 5)}"} for at in range(60)]
    done = train(write_lines(place / "x.jsonl", rows), "--set", f"model.backbone={backbone}")
    assert done.code == 1
    assert message in done.complaint
    assert sorted(path.name for path in (place / "made").iterdir()) == ["accepted", "data", "groups", "splits"]


def repository(root: Path, relpath: str) -> Path:
    """Make a repository whose DVC listing names a file by any path."""
    root.mkdir()
    commands = [["git", "init", "-q"], ["git", "add", "-A"], ["git", "-c", "user.name=t", "-c", "user.email=t@t"]]
    subprocess.run(commands[0], cwd=root, check=True)
    with warnings.catch_warnings(action="ignore"):
        from dvc.repo import Repo

        Repo.init(str(root)).close()
    (root / ".dvc/config").write_text("[core]\nanalytics=false\nremote=store\n['remote \"store\"']\nurl=store\n")
    entry = {"md5": hashlib.md5(LINE, usedforsecurity=False).hexdigest(), "relpath": relpath}
    digests = []
    for content, ending in ((LINE, ""), (json.dumps([entry]).encode(), ".dir")):
        digests.append(hashlib.md5(content, usedforsecurity=False).hexdigest() + ending)
        stored = root / ".dvc/store/files/md5" / digests[-1][:2] / digests[-1][2:]
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(content)
    (root / "data.dvc").write_text(f"outs:\n- md5: {digests[-1]}\n  hash: md5\n  path: data\n")
    subprocess.run(commands[1], cwd=root, check=True)
    subprocess.run([*commands[2], "commit", "-qm", "data"], cwd=root, check=True)
    return root


@pytest.mark.parametrize("relpath", ["../out.jsonl", "sub/../../../out.jsonl", "{place}/out.jsonl"])
def test_a_listing_that_climbs_out_of_its_folder_is_refused(relpath: str, place: Path) -> None:
    source = str(repository(place / "repository", relpath.format(place=place)))
    md5 = data_version(source, "HEAD", "").md5
    with pytest.raises(ValueError, match=r"leads out of the folder|no file inside the folder"):
        fetch(FetchConfig(repository=source, revision="HEAD", data_md5=md5), place / "a" / "b")
    assert [path.name for path in place.rglob("*.jsonl")] == []
    assert written(place / "a") == []


def test_a_listing_that_stays_in_its_folder_is_brought(place: Path) -> None:
    source = str(repository(place / "repository", "sub/in.jsonl"))
    md5 = data_version(source, "HEAD", "").md5
    fetch(FetchConfig(repository=source, revision="HEAD", data_md5=md5), place / "a")
    assert (place / "a/data/sub/in.jsonl").read_bytes() == LINE


def test_a_listing_whose_data_are_not_in_the_remote_is_refused(place: Path) -> None:
    source = repository(place / "repository", "in.jsonl")
    shutil.rmtree(source / ".dvc/store")
    md5 = data_version(str(source), "HEAD", "").md5
    with pytest.raises(ValueError, match="cannot bring data of"):
        fetch(FetchConfig(repository=str(source), revision="HEAD", data_md5=md5), place / "a")
    assert not (place / "a").exists()


def test_a_manifest_cannot_name_files_outside_its_bundle(tiny_bundle: Path, place: Path) -> None:
    bundle = shutil.copytree(tiny_bundle, place / "bundle")
    shutil.move(bundle / "golden.jsonl", place / "golden.jsonl")
    manifest = read_json(bundle / MANIFEST)
    manifest["files"]["../golden.jsonl"] = manifest["files"]["golden.jsonl"]
    write_json(bundle / MANIFEST, manifest)
    with pytest.raises(ValueError, match=r"is damaged: golden\.jsonl is not what manifest\.json says"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", ["../other", "a/../../b", "/tmp/x"])
def test_a_model_name_cannot_be_a_path(name: str, place: Path) -> None:
    done = rewardlab("run", "--recipe", "smoke", "--data", "x", "--name", name)
    assert (done.code, "name is letters, digits" in done.complaint) == (2, True)
    assert written(place) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--map prompt", "it takes FIELD=COLUMN once a field, got 'prompt'"),
        ("--map prompt=a --map prompt=b", "got 'prompt=b'"),
    ],
)
def test_a_map_that_names_no_column_is_wrong_usage(line: str, message: str, place: Path) -> None:
    done = rewardlab("ingest", "--data", "x.jsonl", "--out", "out", *line.split())
    assert (done.code, message in done.complaint, written(place)) == (2, True, [])


def test_a_column_that_is_not_there_and_an_unknown_format_name_what_is(place: Path) -> None:
    write_lines(place / "x.jsonl", [{"ask": "a", "good": "b"}])
    done = rewardlab("ingest", "--data", "x.jsonl", "--out", "out", "--map", "prompt=question")
    assert (done.code, done.complaint) == (1, "x.jsonl: no row has the column 'question'; there are ask, good")
    done = rewardlab("ingest", "--data", "x.jsonl", "--out", "out")
    assert done.code == 1
    assert "x.jsonl: unknown format: rows have ask, good; known are native: " in done.complaint
    assert written(place) == ["x.jsonl"]
