"""`rewardlab score`: the contract of its lines."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import rewardlab as library
from models.checkpoint import save_model
from models.config import ModelConfig
from models.reward_model import build_model
from rewardlab.combination import Combination
from rewardlab.files import read_json
from rewardlab.readout import ReadOut
from steps.export import ExportConfig, export
from tests.command import Done, read_lines, rewardlab, write_lines

SCHEMA = read_json(Path(library.__file__).parent / "schemas" / "score_output.schema.json")
TURNS = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
HH = "\n\nHuman: What is 2 + 2?\n\nAssistant:"
DEEP = '{"prompt": "a", "responses": ' + "[" * 100_000

GOOD: list[Any] = [
    {"id": "a", "prompt": "What is 2 + 2?", "responses": ["4", "five"]},
    {"id": None, "prompt": TURNS, "responses": ["Hello!"]},
    {"id": 7, "prompt": "", "responses": ["", " ", "\n"]},
    {"id": [1.5, {"deep": True}], "prompt": "ça\u2028va\x00 \x85🎉", "responses": ["oui\x1cnon"]},
    {"prompt": "<|im_end|>", "responses": ["<|im_end|>" * 3], "chosen": "other columns are left alone"},
    '{"id": "\\ud800", "prompt": "half an id", "responses": ["it is given back"]}',
    b'\xef\xbb\xbf{"id": "byte order mark", "prompt": "a", "responses": ["b"]}\r',
    {"prompt": "long " * 2000, "responses": ["long " * 2000, "short"]},
]
BAD: list[tuple[Any, str]] = [
    ("", "the line is blank"),
    (" \t\r", "the line is blank"),
    ("not json", "not JSON: "),
    ('{"id": 1, "prompt": "a", "responses": ["b"]', "not JSON: "),
    (b'{"id": 1, "prompt": "\xff", "responses": ["b"]}', "can't decode byte 0xff"),
    (DEEP, "nested too deep"),
    ("[1, 2]", "a line is an object {id?, prompt, responses}, got [1, 2]"),
    ('{"id": NaN, "prompt": "a", "responses": ["b"]}', "NaN is not a JSON value"),
    ('{"id": -1e999, "prompt": "a", "responses": ["b"]}', "-1e999 is not a finite number"),
    ({"id": "no prompt", "responses": ["b"]}, "the line has no prompt; it has id, responses"),
    ({"id": "null", "prompt": None, "responses": ["b"]}, "prompt is a string or a non-empty list"),
    ({"id": "turns", "prompt": [], "responses": ["b"]}, "prompt is a string or a non-empty list"),
    ({"id": "role", "prompt": [{"role": "robot", "content": "a"}], "responses": ["b"]}, "role is one of system"),
    ({"id": "keys", "prompt": [{"role": "user", "text": "a"}], "responses": ["b"]}, "a message is {'role', 'content'}"),
    ({"id": "parts", "prompt": [{"role": "user", "content": ["a"]}], "responses": ["b"]}, "content is a string"),
    ({"id": "none", "prompt": "a"}, "responses is a list of at least one string, got None"),
    ({"id": "empty", "prompt": "a", "responses": []}, "responses is a list of at least one string, got []"),
    ({"id": "text", "prompt": "a", "responses": "b"}, "responses is a list of at least one string, got 'b'"),
    ({"id": "number", "prompt": "a", "responses": ["b", 3]}, "responses is a list of at least one string"),
    ('{"id": "half", "prompt": "\\ud800", "responses": ["b"]}', "text: valid Unicode, got the lone surrogate"),
    ('{"id": "half too", "prompt": "a", "responses": ["b", "\\udfff"]}', "text: valid Unicode, got the lone surrogate"),
]


def score(source: Path, bundle: Path, *options: object) -> tuple[Done, list[Any]]:
    target = source.parent / "scores.jsonl"
    done = rewardlab("score", "--in", source, "--out", target, "--model", bundle, *options)
    rows = read_lines(target) if target.is_file() else []
    for row in rows:
        jsonschema.validate(row, SCHEMA)
    return done, rows


def test_good_lines_get_the_rewards_that_load_gives(tiny_bundle: Path, tmp_path: Path) -> None:
    done, rows = score(write_lines(tmp_path / "in.jsonl", GOOD), tiny_bundle)
    assert (done.code, len(rows)) == (0, len(GOOD))
    scorer = library.load(str(tiny_bundle))
    given = [json.loads(row.strip(b"\xef\xbb\xbf\r")) if isinstance(row, bytes) else row for row in GOOD]
    for wanted, row in zip([json.loads(row) if isinstance(row, str) else row for row in given], rows, strict=True):
        assert ("id" in row, row.get("id")) == ("id" in wanted, wanted.get("id"))
        assert row["model"] == scorer.bundle.label
        assert len(row["truncated"]) == len(row["rewards"]) == len(wanted["responses"])
        if isinstance(wanted["prompt"], str):
            assert row["rewards"] == list(scorer.score(wanted["prompt"], wanted["responses"]))
    assert [any(row["truncated"]) for row in rows] == [False] * 7 + [True]


def test_what_each_named_head_gave_stands_beside_the_reward(
    splits: Path, tokens: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    names, even = ("helpful", "harmless"), Combination(weights={"helpful": 1.0, "harmless": 1.0})
    config = ModelConfig(backbone="tiny", aspects=names, combination=even)
    readout = replace(ReadOut.from_dict(read_json(tokens / "readout.json")), aspects=names, combination=even)
    save_model(
        build_model(config, tiny_folder), config, readout, backbone_folder=tiny_folder, target=tmp_path / "model"
    )
    export(ExportConfig(), tmp_path / "model", splits, tmp_path / "bundle", tmp_path / "export.json", lineage={})
    done, (row, bad) = score(write_lines(tmp_path / "in.jsonl", [GOOD[0], "not json"]), tmp_path / "bundle")
    assert (done.code, "aspects" in bad, list(row["aspects"])) == (1, False, list(names))
    given = library.load(str(tmp_path / "bundle")).score(GOOD[0]["prompt"], GOOD[0]["responses"])
    assert row["aspects"] == {name: list(each) for name, each in given.aspects.items()}
    assert row["rewards"] == pytest.approx(np.sum(list(row["aspects"].values()), axis=0), abs=1e-5)


def test_bad_lines_say_why_and_take_no_good_line_with_them(tiny_bundle: Path, tmp_path: Path) -> None:
    mixed = [line for bad, _ in BAD for line in (bad, GOOD[0])]
    done, rows = score(write_lines(tmp_path / "in.jsonl", mixed), tiny_bundle)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"rewardlab: lines that could not be scored: {len(BAD)}; see")
    for (bad, reason), row in zip(BAD, rows[::2], strict=True):
        assert row["rewards"] is None
        assert reason in row["error"]
        assert not isinstance(bad, dict) or row["id"] == bad["id"]
    assert {tuple(row["rewards"]) for row in rows[1::2]} == {tuple(rows[1]["rewards"])}


def test_order_holds_over_many_lines_and_gzip_changes_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    lines = [{"id": number, "prompt": str(number), "responses": ["a" * (number % 20)]} for number in range(270)]
    plain, rows = score(write_lines(tmp_path / "in.jsonl", lines), tiny_bundle)
    assert [row["id"] for row in rows] == list(range(270))
    (tmp_path / "zipped").write_bytes(gzip.compress((tmp_path / "in.jsonl").read_bytes()))
    zipped, again = score(tmp_path / "zipped", tiny_bundle)
    assert (plain.code, zipped.code, rows) == (0, 0, again)
    assert (tmp_path / "scores.jsonl").read_bytes().count(b"\n") == 270


def test_a_last_line_without_its_end_counts(tiny_bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(GOOD[0]) + "\n\n" + json.dumps(GOOD[0]))
    done, rows = score(source, tiny_bundle)
    assert (done.code, [row["rewards"] is None for row in rows]) == (1, [False, True, False])
    source.write_text("")
    assert score(source, tiny_bundle)[1] == []


def test_parse_reads_rows_as_ingest_does(tiny_bundle: Path, tmp_path: Path) -> None:
    plain = {"prompt": "What is 2 + 2?", "responses": ["4", "five"]}
    lines = [
        {"id": 1, "prompt": HH, "responses": [" 4", " five\n"]},
        {"id": 2, "chosen": f"{HH} 4", "rejected": f"{HH} five"},
        {"id": 3, "prompt": "Not of this format", "responses": ["4"]},
    ]
    done, rows = score(write_lines(tmp_path / "hh.jsonl", lines), tiny_bundle, "--parse", "hh")
    _, (wanted, taken_as_it_is) = score(
        write_lines(tmp_path / "plain.jsonl", [plain, {**plain, "prompt": HH}]), tiny_bundle
    )
    assert rows[0]["rewards"] == rows[1]["rewards"] == wanted["rewards"] != taken_as_it_is["rewards"]
    assert (done.code, rows[2]["id"]) == (1, 3)
    assert "an HH prompt begins with 'Human:'" in rows[2]["error"]


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("", "'' is no reference: give a folder, a version"),
        ("models:/", "'models:/' is no reference"),
        ("champion", "reward-model has no alias 'champion', because there is no registry in"),
        ("models:/m/3", "m has no version 3, because there is no registry in"),
        ("./missing", "there is no folder ./missing"),
        (".", ". is a folder, but not a bundle: it holds no manifest.json"),
    ],
)
def test_a_reference_to_no_model_leaves_the_output_alone(
    ref: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_lines(tmp_path / "in.jsonl", GOOD)
    (tmp_path / "out.jsonl").write_text("of yesterday")
    done = rewardlab("score", "--in", "in.jsonl", "--out", "out.jsonl", "--model", ref)
    assert (done.code, Path("out.jsonl").read_text()) == (1, "of yesterday")
    assert message in done.complaint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_damaged_bundle_or_input_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    import shutil

    source = write_lines(tmp_path / "in.jsonl", GOOD)
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (bundle / "golden.jsonl").write_text("{}\n")
    assert "is damaged: golden.jsonl is not what manifest.json says" in score(source, bundle)[0].complaint
    assert "there is no file" in score(tmp_path / "missing.jsonl", tiny_bundle)[0].complaint
    (tmp_path / "cut.gz").write_bytes(gzip.compress(source.read_bytes())[:-20])
    done, rows = score(tmp_path / "cut.gz", tiny_bundle)
    assert (done.code, rows) == (1, [])
    assert "is cut short or damaged" in done.err.splitlines()[-1]
    assert not list(tmp_path.glob(".scores*"))


def test_what_was_cut_off_goes_on_where_it_stopped(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.score._CHUNK", 16)
    lines = [{"id": number, "prompt": f"{number}?", "responses": ["a", "b"]} for number in range(60)]
    lines[10] = "not json"  # type: ignore[call-overload]
    source = write_lines(tmp_path / "in.jsonl", lines)
    whole = score(source, tiny_bundle)[1]
    (tmp_path / "scores.jsonl").unlink()
    scored: list[int] = []
    really = library.Engine.score_many

    def counted(engine: library.Engine, groups: Sequence[Any], **options: Any) -> list[library.Scores]:
        if sum(scored) > 25:
            raise KeyboardInterrupt
        scored.append(len(groups))
        return really(engine, groups, **options)

    monkeypatch.setattr(library.Engine, "score_many", counted)
    assert score(source, tiny_bundle)[0].code == 130
    assert not (tmp_path / "scores.jsonl").exists()
    part = tmp_path / "scores.jsonl.part"
    part.write_bytes(part.read_bytes()[:-7])  # the last line was being written
    monkeypatch.setattr(library.Engine, "score_many", really)
    done, rows = score(source, tiny_bundle)
    assert (done.code, rows) == (1, whole)
    assert not part.exists()


def test_a_part_of_other_work_is_not_gone_on_with(tiny_bundle: Path, other_bundle: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [{"prompt": "a", "responses": ["b"]}] * 3)
    for head in ('{"of":"something else"}', ""):
        (tmp_path / "scores.jsonl.part").write_text(head + '\n{"rewards": [99.0]}\n')
        assert len(score(source, other_bundle)[1]) == 3
    first, second = (score(source, bundle)[1][0]["rewards"] for bundle in (tiny_bundle, other_bundle))
    assert first != second
