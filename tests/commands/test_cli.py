"""The command line: what it lists, what it imports, its exit codes and what it refuses to overwrite."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rewardlab as library
from rewardlab.files import file_digest, read_json, write_json
from rewardlab.reports import Summary
from steps.common.run_record import RunRecord, StepRecord
from tests.command import rewardlab, write_lines
from tests.gated import crown

COMMANDS = "run ingest make-data compile train evaluate score compare serve report doctor gc "
COMMANDS += "models lineage approve promote rollback repair deployer webhook"
HEAVY = "torch transformers mlflow kfp great_expectations onnxruntime tokenizers numpy pandas scipy matplotlib dvc"
INSTALLED = Path(sys.executable).parent / "rewardlab"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own, without any registry."""
    monkeypatch.chdir(tmp_path)
    for name in ("REWARDLAB_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    ask = "import sys, commands.cli as cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    check = f"found = set({HEAVY.split()}) & set(sys.modules)\nassert not found, found"
    done = subprocess.run([sys.executable, "-c", ask + check], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in COMMANDS.split() if f" {name} " not in done.stdout] == []


def test_the_installed_command_says_what_is_wrong_in_one_line() -> None:
    done = subprocess.run([INSTALLED, "report", "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "rewardlab: there is no runs/nothing/summary.json: runs are listed in runs/\n"


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "commands.cli", "nope"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "rewardlab: No such command 'nope'; --help lists what there is\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "Missing command"),
        ("scor", "Did you mean 'score'"),
        ("score --inn x", "No such option: --inn"),
        ("score --in x", "Missing option '--out'"),
        ("compare one --data x", "Missing argument 'second'"),
        ("serve --port many", "'--port'"),
        ("serve --port 70000", "'--port'"),
        ("gc --keep -1", "'--keep'"),
        ("make-data --out x --size 0", "'--size'"),
        ("score --in x --out y --parse zz", "unknown format 'zz': known are native, hh"),
        ("evaluate --data x --parse zz", "unknown format 'zz'"),
        ("run --recipe nope", "there is no recipe 'nope': choose smoke"),
        ("train --out x --recipe nope", "there is no recipe 'nope'"),
        ("doctor --recipe nope", "there is no recipe 'nope'"),
        ("run --recipe smoke --set train.epochs", "takes KEY=VALUE, got 'train.epochs'"),
        ("run --recipe smoke --set train.epoch=1", "no setting 'train.epoch'"),
        ("run --recipe smoke --set train.epochs=two", "TrainSettings.epochs is a int, got 'two'"),
        ("run --recipe smoke --set train.learning_rate=NaN", "learning_rate is positive, got nan"),
    ],
)
def test_wrong_usage_exits_2_before_anything_happens(line: str, message: str, place: Path) -> None:
    done = rewardlab(*line.split())
    assert (done.code, done.out) == (2, "")
    assert message in done.complaint
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", b"", "empty.jsonl is empty"),
        ("bad.jsonl", b"{\n", "no row of bad.jsonl can be read: bad.jsonl line 1: invalid JSON"),
        ("bytes.jsonl", b'{"prompt": "\xff"}\n', "is not UTF-8 behind line 0"),
        ("other.jsonl", b'{"question": 1}\n', "unknown format: rows have question; known are native:"),
        ("other.txt", b"hello\n", "other.txt is none of .jsonl"),
        ("cut.jsonl.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "cut.jsonl.gz"),
        ("table.parquet", b"PAR1", "is no Parquet file"),
        ("list.json", b"[1, 2", "is not a JSON array"),
        (
            "nan.jsonl",
            b'{"prompt": "a", "chosen": "b", "rejected": "c", "margin": NaN}\n',
            "margin is a finite number, got nan",
        ),
    ],
)
def test_data_that_cannot_be_read_exit_1_with_the_reason(name: str, content: bytes, message: str, place: Path) -> None:
    Path(name).write_bytes(content)
    done = rewardlab("ingest", "--data", name, "--out", "groups")
    assert done.code == 1
    assert message in done.complaint
    assert [path.name for path in place.iterdir()] == [name]


def test_data_that_are_not_there_exit_1() -> None:
    for command in ("ingest --out x", "evaluate --model x", "train --recipe smoke --out x"):
        assert rewardlab(*command.split(), "--data", "missing").code == 1


@pytest.mark.parametrize(
    "line",
    [
        "ingest --data rows.jsonl --out full",
        "ingest --data rows.jsonl --out rows.jsonl",
        "make-data --size 2 --out full",
        "train --recipe smoke --out full",
        "score --in rows.jsonl --out full",
        "evaluate --data rows.jsonl --json full",
        "compare a b --data rows.jsonl --json full",
        "models --json full",
        "compile --out full",
    ],
)
def test_a_folder_that_holds_something_is_never_replaced(line: str) -> None:
    write_lines(Path("rows.jsonl"), [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    done = rewardlab(*line.split())
    assert done.code == 2
    assert ": name a" in done.complaint
    assert Path("full/mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "line",
    [
        "score --in rows.jsonl --out rows.jsonl",
        "score --out ./rows.jsonl --in rows.jsonl",
        "evaluate --json rows.jsonl --data rows.jsonl",
        "compare 1 2 --json rows.jsonl --data rows.jsonl",
        "monitor --page rows.jsonl --log rows.jsonl",
        "monitor --json rows.jsonl --log rows.jsonl",
        "overoptimize --page rows.jsonl --data rows.jsonl",
    ],
)
def test_a_file_that_is_read_is_never_replaced(line: str) -> None:
    write_lines(Path("rows.jsonl"), [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    digest = file_digest(Path("rows.jsonl"))
    done = rewardlab(*line.split())
    assert done.code == 2
    assert "is read too: name another file" in done.complaint
    assert file_digest(Path("rows.jsonl")) == digest


def test_ingest_writes_groups_and_tells_of_bad_rows() -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    write_lines(Path("rows.jsonl"), [row, {**row, "chosen": 3}, "not json"])
    Path("groups").mkdir()
    done = rewardlab("ingest", "--data", "rows.jsonl", "--out", "groups")
    assert done.code == 0
    assert done.out.startswith("groups in groups: 1; unreadable rows: 2\n")
    assert sorted(path.name for path in Path("groups").iterdir()) == [
        "groups.jsonl.gz",
        "ingest.json",
        "unreadable.jsonl",
    ]


def test_make_data_is_the_same_for_a_seed() -> None:
    said = [rewardlab("make-data", "--size", 4, "--seed", 7, "--out", name) for name in ("one", "two")]
    assert [done.code for done in said] == [0, 0]
    assert said[0].out == said[1].out
    assert (Path("one") / "preferences-000.jsonl.gz").is_file()


def test_compile_writes_the_pipeline_and_tells_its_digest() -> None:
    from pipelines.ir import ir_digest

    done = rewardlab("compile", "--out", "build/pipeline.yaml")
    assert done.out == f"build/pipeline.yaml {ir_digest(Path('build/pipeline.yaml'))}\n"
    assert ".yaml" in rewardlab("compile", "--out", "pipeline.txt").complaint


def test_report_reads_the_newest_run() -> None:
    summary = Summary(
        decision="rejected",
        reason="worse",
        recipe="smoke",
        seconds={},
        reused=(),
        versions={},
        lineage=None,
        report=None,
        model="m/2",
    )
    write_json(Path("runs/one/summary.json"), summary.to_dict())
    Path("runs/latest").symlink_to("one")
    assert rewardlab("report").out == "decision: rejected (worse)\nmodel: m/2\n"
    assert rewardlab("report", "two").code == 1


def make_run(number: int, folder: str, *, recipe: bool) -> Path:
    path = Path(folder)
    path.mkdir(parents=True)
    if recipe:
        write_json(path / "recipe.json", {})
    os.utime(path, (number, number))
    return path


def test_gc_removes_old_runs_and_only_those() -> None:
    old, new = make_run(1, "runs/old", recipe=True), make_run(3, "runs/new", recipe=True)
    foreign = make_run(2, "runs/tensorboard", recipe=False)
    kept, gone = make_run(3, ".rewardlab/steps/new", recipe=False), make_run(1, ".rewardlab/steps/old", recipe=False)
    for entry, step in (("a", kept), ("b", gone)):
        write_json(Path(f".rewardlab/cache/{entry}.json"), {"Output": "x", "model": {"uri": str(step.absolute())}})
    scores = make_run(1, ".rewardlab/scores", recipe=False) / "digest.npy"
    scores.touch()
    planned = rewardlab("gc", "--keep", 1, "--dry-run").out
    assert (planned.count("would remove"), old.exists(), gone.exists(), scores.exists()) == (3, True, True, True)
    assert rewardlab("gc", "--keep", 1).out == planned.replace("would remove", "removed")
    assert [path.exists() for path in (new, foreign, kept, old, gone, scores)] == [True] * 3 + [False] * 3
    assert [path.name for path in Path(".rewardlab/cache").iterdir()] == ["a.json"]
    assert rewardlab("gc", "--keep", 1).out == "nothing to remove\n"


def test_gc_keeps_the_newest_interrupted_trainings_and_those_under_way() -> None:
    from steps.train.state import held

    states = [make_run(at, f".rewardlab/training/{at}", recipe=False) for at in (1, 2, 3)]
    with held(states[0]):
        os.utime(states[0], (1, 1))
        assert rewardlab("gc", "--keep", 1).out == f"removed {states[1].absolute()}\n"
    assert [path.exists() for path in states] == [True, False, True]
    assert rewardlab("gc", "--keep", 1).out == f"removed {states[0].absolute()}\n"


def test_gc_keeps_what_a_newer_run_has_reused() -> None:
    new = make_run(3, "runs/new", recipe=True)
    names = ("latest", "reused", "made", "neither")
    steps = [make_run(3 - at, f".rewardlab/steps/{name}", recipe=False) for at, name in enumerate(names)]
    times: dict[str, Any] = {"started": "", "ended": "", "seconds": 1.0}
    model, splits = (str(folder.absolute() / name) for folder, name in ((steps[1], "model"), (steps[2], "splits")))
    reused = StepRecord(name="train", reused=True, outputs={"model": model}, **times)
    made = StepRecord(name="split", outputs={"splits": splits}, **times)
    RunRecord(steps=(made, reused)).write(new)
    assert rewardlab("gc", "--keep", 1).out == f"removed {steps[3].absolute()}\n"
    assert [path.exists() for path in steps] == [True, True, True, False]
    assert rewardlab("gc", "--keep", 0).code == 0
    assert [path.exists() for path in steps] == [False] * 4


def test_gc_leaves_what_an_alias_and_the_log_need(registry: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    crown(tmp_path, tiny_bundle)
    assert rewardlab("gc", "--keep", 0).code == 0
    found = rewardlab("lineage", "champion", "--name", "m")
    assert (found.code, found.out.splitlines()[0]) == (0, "model        m/1 champion")
    assert library.load("models:/m@champion").bundle.label == "m/1"


def test_a_dry_run_says_what_would_run_and_leaves_nothing(place: Path) -> None:
    write_lines(place / "pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    os.utime(place / "pairs.jsonl", (1e9, 1e9))
    before = sorted(place.rglob("*"))
    done = rewardlab(
        "run",
        "--recipe",
        "smoke",
        "--data",
        "pairs.jsonl",
        "--name",
        "m",
        "--set",
        "split.max_similarity=0.7",
        "--dry-run",
    )
    assert sorted(place.rglob("*")) == before
    shown = {line[:10].strip(): line[11:] for line in done.out.splitlines()}
    assert (done.code, shown["would run"]) == (0, "recipe smoke, registered model m")
    assert shown["champion"] == "none"
    assert f"md5 {file_digest(place / 'pairs.jsonl', 'md5')}, changed 2001-09-09T01:46:40+00:00" in shown["data"]
    assert json.loads(shown["split"])["max_similarity"] == 0.7
    assert {"gate", "train", "ir digest", "git commit", "image"} <= shown.keys()
    missing = rewardlab("run", "--recipe", "smoke", "--data", "nowhere.jsonl", "--dry-run")
    assert (missing.code, sorted(place.rglob("*"))) == (1, before)


def test_gc_leaves_no_link_to_nothing() -> None:
    make_run(1, "runs/only", recipe=True)
    Path("runs/latest").symlink_to("only")
    assert rewardlab("gc", "--keep", 0).code == 0
    assert list(Path("runs").iterdir()) == []


def test_doctor_says_what_to_do(cache: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLAB_CACHE", str(cache))
    found = {line[5:].partition(": ")[0]: line for line in rewardlab("doctor", "--recipe", "smoke").out.splitlines()}
    assert {"torch", "disk", "port 8080", "registry", "data", "backbone of smoke"} <= found.keys()
    assert all(line.startswith("ok ") for name, line in found.items() if name != "port 8080")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    sick = rewardlab("doctor", "--recipe", "smoke")
    assert sick.code == 1
    assert "FAIL registry: the registry http://127.0.0.1:9 cannot be reached: start it, or" in sick.out


@pytest.mark.slow
def test_a_run_without_data_fails_with_a_summary(place: Path, registry: Path) -> None:
    done = subprocess.run(
        [INSTALLED, "run", "--recipe", "smoke", "--data", "no"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"rewardlab: resolve: there is no data at {place / 'no'}"
    summary = read_json(Path("runs/latest/summary.json"))
    assert summary["decision"] == "failed"
    assert "there is no data" in summary["reason"]
