"""`rewardlab models, promote, rollback, serve`, and every way to name a registered model."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import rewardlab as library
from rewardlab.bundle import Bundle
from rewardlab.files import read_json
from rewardlab.promotion import client_log
from steps.registry.client import champion_record, connect
from tests.command import read_lines, rewardlab, write_lines
from tests.gated import POLICY, add, crown, report

PROMPT, RESPONSES = "What is 2 + 2?", ["It is 4.", "It is 5."]


@pytest.fixture
def champion(registry: Path, tmp_path: Path, tiny_bundle: Path) -> Path:
    """Return the bundle that is champion, and version 1, of "m"."""
    crown(tmp_path, tiny_bundle)
    return tiny_bundle


def test_models_lists_versions_newest_first(champion: Path, other_bundle: Path, tmp_path: Path) -> None:
    add(report(tmp_path, other_bundle, "fail"), other_bundle)
    done = rewardlab("models", "--name", "m", "--json", tmp_path / "models.json")
    listed = read_json(tmp_path / "models.json")
    assert done.code == 0
    assert [(row["version"], row["aliases"], row["tags"]["verdict"]) for row in listed] == [
        ("2", [], "fail"),
        ("1", ["champion"], "pass"),
    ]
    assert [line.split()[:3] for line in done.out.splitlines()[1:]] == [
        ["2", "fail", "smoke"],
        ["1", "champion", "pass"],
    ]


@pytest.mark.slow
def test_models_of_an_empty_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLAB_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ask = [sys.executable, "-m", "commands.cli", "models"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "reward-model has no versions\n", "")


def test_only_a_version_that_passed_is_promoted(champion: Path, other_bundle: Path, tmp_path: Path) -> None:
    add(report(tmp_path, other_bundle, "fail"), other_bundle)
    refused = rewardlab("promote", "2", "--name", "m")
    assert refused.code == 1
    assert "m/2 did not pass the gate (fail: because)" in refused.complaint
    assert "m has no version 9: see `rewardlab models --name m`" in rewardlab("promote", "9", "--name", "m").complaint
    assert rewardlab("promote", "1", "--name", "m").out == "m/1 is champion already\n"


def test_promote_and_rollback_move_the_champion(champion: Path, other_bundle: Path, tmp_path: Path) -> None:
    assert "m has no previous champion to go back to" in rewardlab("rollback", "--name", "m").complaint
    add(report(tmp_path, other_bundle, champion="m/1"), other_bundle)
    assert rewardlab("promote", "2", "--name", "m").out == "m/2 is champion; before: 1\n"
    assert library.load("models:/m@champion").bundle.label == "m/2"
    assert rewardlab("rollback", "--name", "m").out == "m/1 is champion again; version 2 is now `previous`\n"
    assert library.load("models:/m@champion").bundle.label == "m/1"


def test_a_version_that_passed_against_another_champion_is_stale(
    champion: Path, other_bundle: Path, tmp_path: Path
) -> None:
    add(report(tmp_path, other_bundle), other_bundle)
    refused = rewardlab("promote", "2", "--name", "m")
    assert refused.code == 1
    assert "stale: m/2 was gated against no champion, and champion is m/1" in refused.complaint


def test_a_policy_that_asks_people_to_sign_waits_for_them(champion: Path, other_bundle: Path, tmp_path: Path) -> None:
    asked = {**POLICY, "sign_off": {"aliases": ["production"], "people": 2}}
    add(report(tmp_path, other_bundle, champion="m/1", policy=asked), other_bundle)
    promote = ("promote", "2", "--name", "m")
    assert "not signed off: 0 of 2 people have signed" in rewardlab(*promote).complaint
    for name in ("ada", "Ada"):  # the same person twice is one
        assert rewardlab("approve", "2", "--name", "m", "--as", name).out == "ada has signed m/2\n"
    assert "not signed off: 1 of 2" in rewardlab(*promote).complaint
    rewardlab("approve", "2", "--name", "m", "--as", "alan")
    assert rewardlab(*promote).out == "m/2 is champion; before: 1\n"
    head = client_log(connect(), "m").head("champion")
    assert head is not None
    assert [line.split()[0] for line in head.signed] == ["ada", "alan"]


@pytest.mark.parametrize(
    ("line", "complaint"), [("approve 2 --as ada", "did not pass"), ("approve 1 --as a\tb", "one word")]
)
def test_what_cannot_be_signed_is_refused(
    line: str, complaint: str, champion: Path, other_bundle: Path, tmp_path: Path
) -> None:
    add(report(tmp_path, other_bundle, "fail"), other_bundle)
    assert complaint in rewardlab(*line.split(" "), "--name", "m").complaint


def test_a_report_that_is_signed_and_then_replaced_needs_new_signatures(
    champion: Path, other_bundle: Path, tmp_path: Path
) -> None:
    asked = {**POLICY, "sign_off": {"aliases": ["champion"], "people": 1}}
    first = report(tmp_path, other_bundle, champion="m/1", policy=asked)
    add(first, other_bundle)
    rewardlab("approve", "2", "--name", "m")
    add(report(tmp_path, other_bundle, champion="m/1", policy=asked, reason="another"), other_bundle)
    assert "not signed off: 0 of 1" in rewardlab("promote", "2", "--name", "m").complaint


def test_an_alias_that_somebody_moved_is_seen_through_and_repaired(
    champion: Path, other_bundle: Path, tmp_path: Path
) -> None:
    add(report(tmp_path, other_bundle, "fail"), other_bundle)
    connect().set_registered_model_alias("m", "champion", "2")
    assert library.load("models:/m@champion").bundle.label == "m/1"
    assert [row.split()[:2] for row in rewardlab("models", "--name", "m").out.splitlines()[1:]][1] == ["1", "champion"]
    assert rewardlab("repair", "--name", "m").out == "champion is version 1\n"
    assert rewardlab("repair", "--name", "m").out == "nothing to repair\n"
    assert str(connect().get_model_version_by_alias("m", "champion").version) == "1"


def test_a_champion_that_no_promotion_made_is_refused(registry: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    add(report(tmp_path, tiny_bundle), tiny_bundle)
    connect().set_registered_model_alias("m", "champion", "1")
    for ask in (lambda: library.load("models:/m@champion"), lambda: champion_record(connect(), "m")):
        with pytest.raises(ValueError, match="no promotion made it so"):
            ask()
    rewardlab("promote", "1", "--name", "m")
    assert library.load("models:/m@champion").bundle.label == "m/1"


def test_a_lineage_leads_from_a_score_to_data_commit_image_and_ir(
    champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_lines(tmp_path / "in.jsonl", [{"prompt": PROMPT, "responses": RESPONSES}])
    rewardlab("score", "--in", source, "--out", tmp_path / "out.jsonl", "--name", "m")
    label = read_lines(tmp_path / "out.jsonl")[0]["model"]
    done = rewardlab("lineage", label, "--json", tmp_path / "lineage.json")
    found = read_json(tmp_path / "lineage.json")
    assert (done.code, found["model"], found["aliases"]) == (0, "m/1", ["champion"])
    made_from = {"data_md5": "md5", "recipe": "smoke", "test_digest": "t"}
    assert found["made_from"] == made_from | dict.fromkeys(("git_commit", "image", "ir_digest"))
    assert found["bundle"]["digest"] == Bundle.open(champion).digest
    (promotion,) = found["promotions"]
    assert (promotion["entry"], promotion["action"], promotion["report"]) == (1, "promote", found["gate"]["report"])
    shown = {line[:12].strip(): line[13:] for line in done.out.splitlines()}
    assert (shown["model"], shown["data md5"], shown["image"]) == ("m/1 champion", "md5", "unknown")
    assert shown["gate"] == "pass (because), against no champion"
    assert (
        rewardlab("lineage", "champion", "--name", "m").out == done.out == rewardlab("lineage", "1", "--name", "m").out
    )
    assert "refuses: Model Version" in rewardlab("lineage", "7", "--name", "m").complaint
    assert "m has no alias 'nobody'" in rewardlab("lineage", "nobody", "--name", "m").complaint


@pytest.mark.parametrize("line", ["models --name a'b", "promote 1 --name a'b"])
def test_what_the_registry_refuses_is_one_line(registry: Path, line: str) -> None:
    done = rewardlab(*line.split())
    assert done.code == 1
    assert "refuses" in done.complaint


def test_an_unreachable_registry_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    write_lines(tmp_path / "in.jsonl", [{"prompt": PROMPT, "responses": RESPONSES}])
    for line in (
        "models",
        "promote 1",
        "approve 1",
        "rollback",
        "repair",
        f"score --in {tmp_path}/in.jsonl --out {tmp_path}/out.jsonl",
    ):
        done = rewardlab(*line.split())
        assert done.code == 1
        assert "http://127.0.0.1:9" in done.complaint


def test_every_reference_loads_the_same_model(champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_lines(tmp_path / "in.jsonl", [{"prompt": PROMPT, "responses": RESPONSES}])
    wanted = list(library.load(str(champion)).score(PROMPT, RESPONSES))
    assert list(library.load("models:/m@champion").score(PROMPT, RESPONSES)) == wanted
    monkeypatch.chdir(tmp_path)
    for ref in ("champion", "1", "models:/m@champion", "models:/m/1"):
        assert rewardlab("score", "--in", source, "--out", "out.jsonl", "--model", ref, "--name", "m").code == 0
        assert read_lines(Path("out.jsonl")) == [{"rewards": wanted, "truncated": [False, False], "model": "m/1"}]
    assert rewardlab("score", "--in", source, "--out", "out.jsonl").code == 1  # the default name has no champion


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve the champion of "m" from a folder on a free port."""
    command = [str(Path(sys.executable).parent / "rewardlab"), "serve", "--name", "m", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


@pytest.mark.slow
def test_serve_becomes_the_server_of_the_champion(champion: Path, tmp_path: Path) -> None:
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "__init__.py").write_text("raise ImportError('a package of the user')")
    with serving(tmp_path) as (process, line):
        assert line.startswith("serving m/1 at http://127.0.0.1:")
        url = line.split()[-1]
        while httpx.get(f"{url}/health/ready").status_code == 503:
            time.sleep(0.05)
        answer = httpx.post(f"{url}/v1/rewards", json={"prompt": PROMPT, "responses": RESPONSES}).json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert answer["model"] == "m/1"
    assert answer["rewards"] == list(library.load(str(champion)).score(PROMPT, RESPONSES))


def test_without_a_champion_of_the_usual_name_the_command_that_makes_one_and_the_names_that_exist_are_told(
    champion: Path, tmp_path: Path
) -> None:
    write_lines(tmp_path / "in.jsonl", [{"prompt": PROMPT, "responses": RESPONSES}])
    score = rewardlab("score", "--in", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl")
    for done in (score, rewardlab("serve"), rewardlab("evaluate", "--data", tmp_path / "in.jsonl")):
        assert done.code == 1
        assert "`rewardlab run` makes a champion; there are m, to be named with --name" in done.complaint
    other = rewardlab("score", "--in", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--name", "nobody")
    assert "`rewardlab run --name nobody` makes a champion; there are m" in other.complaint


def test_the_smoke_recipe_cannot_be_the_champion_of_the_usual_name(tmp_path: Path) -> None:
    done = rewardlab("run", "--recipe", "smoke", "--name", "reward-model", "--data", "x", "--dry-run")
    assert done.code == 1
    assert "its model cannot be 'reward-model', leave --name out" in done.complaint
