"""Kubeflow Pipelines: what is sent to the server, that sending again changes nothing, and what refusals say."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ir import GOLDEN, ir_digest, read_ir
from pipelines.kubeflow.client import TOKEN, Plan, connect, explained
from pipelines.kubeflow.cron import check_cron, in_words, next_times
from pipelines.kubeflow.submit import Job, compiled, schedule, submit, upload, version_name
from pipelines.local.images import tag
from pipelines.profiles import PROFILES, profile
from tests.cluster import kubeflow as fake_kubeflow
from tests.cluster.kubeflow import Kubeflow
from tests.command import rewardlab

REPOSITORY = ["--repository", "https://example.org/preferences.git", "--recipe", "smoke"]
PARAMETERS = read_ir(GOLDEN)[0]["root"]["inputDefinitions"]["parameters"]
JOB = Job(name="nightly", experiment="rewards", arguments=dict.fromkeys(PARAMETERS, "x"))
NIGHTLY = "0 30 2 * * *"


@pytest.fixture
def kubeflow() -> Iterator[Kubeflow]:
    with fake_kubeflow.running() as state:
        yield state


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of this source's image in a registry, which the environment names."""
    name = f"registry.example.org/ml/rewardlab-python:{tag()}"
    monkeypatch.setenv("REWARDLAB_IMAGE", name)
    return name


@pytest.fixture
def client(kubeflow: Kubeflow) -> Any:
    return connect(kubeflow.address, "kubeflow")


def test_a_version_is_uploaded_once_and_named_after_what_it_holds(client: Any, kubeflow: Kubeflow) -> None:
    first, again = upload(client, GOLDEN), upload(client, GOLDEN)
    assert first == again
    assert first[2] == version_name(GOLDEN)
    assert kubeflow.changes == ["POST /pipelines/upload", "POST /pipelines/upload_version"]


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_what_is_sent_again_is_the_version_that_is_there(name: str, client: Any, kubeflow: Kubeflow) -> None:
    with compiled(profile(name)) as package:
        sent = [
            submit(client, JOB, package),
            schedule(client, JOB, package, cron=NIGHTLY),
            submit(client, JOB, package),
        ]
    assert len({each.version for each in sent}) == 1
    assert kubeflow.changes.count("POST /pipelines/upload_version") == 1


def test_a_version_of_the_same_name_that_holds_something_else_is_refused(client: Any, kubeflow: Kubeflow) -> None:
    _, version, _ = upload(client, GOLDEN)
    spec = kubeflow.versions[version]["pipeline_spec"]
    spec.get("pipeline_spec", spec)["root"]["dag"]["tasks"].popitem()
    with pytest.raises(ValueError, match="holds another pipeline"):
        upload(client, GOLDEN)


def test_a_run_has_every_parameter_and_the_pinned_version(client: Any, kubeflow: Kubeflow) -> None:
    sent = submit(client, JOB, GOLDEN)
    made = kubeflow.runs[sent.id]
    assert made["display_name"] == "nightly"
    assert made["runtime_config"]["parameters"] == JOB.arguments
    version = kubeflow.versions[made["pipeline_version_reference"]["pipeline_version_id"]]
    assert version["display_name"] == sent.version == version_name(GOLDEN)


def test_a_schedule_is_made_left_alone_and_replaced(client: Any, kubeflow: Kubeflow) -> None:
    made = schedule(client, JOB, GOLDEN, cron=NIGHTLY)
    again = schedule(client, JOB, GOLDEN, cron=f" {NIGHTLY} ")
    later = schedule(client, JOB, GOLDEN, cron="0 0 4 * * *")
    assert [each.state for each in (made, again, later)] == ["created", "unchanged", "replaced"]
    assert made.id == again.id
    (standing,) = kubeflow.recurring.values()
    assert standing["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * *"
    assert (standing["max_concurrency"], standing["no_catchup"], standing["mode"]) == (1, True, "ENABLE")


def test_other_arguments_replace_a_schedule_and_other_schedules_stay(client: Any, kubeflow: Kubeflow) -> None:
    schedule(client, Job.from_dict({**JOB.to_dict(), "name": "weekly"}), GOLDEN, cron=NIGHTLY)
    schedule(client, JOB, GOLDEN, cron=NIGHTLY)
    other = Job.from_dict({**JOB.to_dict(), "arguments": dict.fromkeys(PARAMETERS, "y")})
    assert schedule(client, other, GOLDEN, cron=NIGHTLY).state == "replaced"
    assert sorted(each["display_name"] for each in kubeflow.recurring.values()) == ["nightly", "weekly"]


def test_a_schedule_that_cannot_be_made_costs_none(client: Any, kubeflow: Kubeflow) -> None:
    made = schedule(client, JOB, GOLDEN, cron=NIGHTLY)
    kubeflow.fail_on = "/recurringruns"
    with pytest.raises(ValueError, match="refuses"), explained():
        schedule(client, JOB, GOLDEN, cron="0 0 4 * * *")
    assert list(kubeflow.recurring) == [made.id]


def test_what_a_failure_left_twice_is_mended_and_what_was_switched_off_is_on(client: Any, kubeflow: Kubeflow) -> None:
    made = schedule(client, JOB, GOLDEN, cron=NIGHTLY)
    twin = {**kubeflow.recurring[made.id], "recurring_run_id": "twin"}
    kubeflow.recurring = {"twin": twin, **kubeflow.recurring}
    assert schedule(client, JOB, GOLDEN, cron=NIGHTLY).state == "unchanged"
    assert len(kubeflow.recurring) == 1
    next(iter(kubeflow.recurring.values()))["status"] = "DISABLED"
    assert schedule(client, JOB, GOLDEN, cron=NIGHTLY).state == "replaced"


def test_a_server_that_is_not_there_or_refuses_the_token_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no Kubeflow Pipelines server answers"):
        connect("http://127.0.0.1:9", "kubeflow")
    with pytest.raises(ValueError, match="which server"):
        connect("kubeflow.example.org", "kubeflow")
    with fake_kubeflow.running(token="right") as state:
        monkeypatch.setenv(TOKEN, "wrong")
        with pytest.raises(ValueError, match="no permission"):
            connect(state.address, "kubeflow")
        monkeypatch.setenv(TOKEN, "right")
        assert submit(connect(state.address, "kubeflow"), JOB, GOLDEN).id in state.runs


def test_on_a_server_of_many_users_the_pipeline_is_the_namespace_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_kubeflow.running(token="right", multi_user=True) as state:
        monkeypatch.delenv(TOKEN, raising=False)
        with pytest.raises(ValueError, match=f"401.*{TOKEN}"), explained():
            submit(connect(state.address, "rewards"), JOB, GOLDEN)
        assert state.changes == []
        monkeypatch.setenv(TOKEN, "right")
        for namespace in ("rewards", "others", "rewards"):
            submit(connect(state.address, namespace), JOB, GOLDEN)
        assert [each["namespace"] for each in state.pipelines.values()] == ["rewards", "others"]


def test_a_pod_s_service_account_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("mounted")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv(TOKEN, raising=False)
    with fake_kubeflow.running(token="mounted") as state:
        assert submit(connect(state.address, "kubeflow"), JOB, GOLDEN).id in state.runs


def test_a_plan_prints_the_calls_and_asks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    schedule(Plan(), JOB, GOLDEN, cron=NIGHTLY)
    printed = capsys.readouterr().out
    calls = [line.partition(" ")[0] for line in printed.splitlines() if line[:1].isalpha()]
    assert calls == ["upload_pipeline_version", "create_experiment", "create_recurring_run"]
    assert f'"cron_expression": "{NIGHTLY}"' in printed


@pytest.mark.parametrize("image", ["", "rewardlab-python:0.1.0", "registry.example.org:5000/rewardlab-python"])
def test_an_image_that_is_not_of_this_source_is_refused(
    image: str, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REWARDLAB_IMAGE", image)
    for command in (["submit"], ["schedule", "--cron", NIGHTLY]):
        done = rewardlab(*command, "--host", kubeflow.address, *REPOSITORY)
        assert f"with the tag {tag()} or by its digest, got {image!r}" in done.complaint.splitlines()[-1]
    assert kubeflow.changes == []


def test_the_commands_submit_and_schedule(kubeflow: Kubeflow, pushed: str) -> None:
    assert rewardlab("submit", "--host", kubeflow.address, *REPOSITORY).code == 0
    done = rewardlab("schedule", "--cron", NIGHTLY, "--host", kubeflow.address, *REPOSITORY)
    assert done.code == 0
    assert "At 02:30 (UTC)" in done.out
    (once,), (nightly,) = kubeflow.runs.values(), kubeflow.recurring.values()
    assert once["runtime_config"]["parameters"]["run_id"] == nightly["runtime_config"]["parameters"]["run_id"] == ""
    assert "https://example.org/preferences.git" in nightly["runtime_config"]["parameters"]["resolve_settings"]


def test_a_profile_says_how_many_train_and_the_remote_is_chosen(kubeflow: Kubeflow, pushed: str) -> None:
    options = ["--profile", "multi-node", "--remote", "s3://bucket/dvc"]
    assert rewardlab("submit", "--host", kubeflow.address, *options, *REPOSITORY).code == 0
    (run,) = kubeflow.runs.values()
    parameters = run["runtime_config"]["parameters"]
    assert json.loads(parameters["train_settings"])["config"]["num_processes"] == 16
    assert json.loads(parameters["fetch_settings"])["config"]["remote"] == "s3://bucket/dvc"
    assert "remote" not in json.loads(parameters["resolve_settings"])["config"]
    lineage = json.loads(parameters["report_settings"])["config"]["lineage"]
    assert (lineage["image"], lineage["ir_digest"] == ir_digest()) == (pushed, False)


@pytest.mark.parametrize(("state", "code", "word"), [("SUCCEEDED", 0, "ok  "), ("FAILED", 1, "FAIL")])
def test_a_look_from_inside_the_cluster_is_a_run_of_one_step(
    state: str, code: int, word: str, kubeflow: Kubeflow, pushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    kubeflow.ends = state
    options = ["--repository", "https://example.org/preferences.git", "--remote", "s3://bucket/dvc"]
    done = rewardlab("doctor", "--in-cluster", "--host", kubeflow.address, "--namespace", "rewards", *options)
    (run,) = kubeflow.runs.values()
    assert (done.code, f"\n{word} run {run['run_id']}: its log says" in done.out) == (code, True)
    assert f"--namespace rewards --selector pipeline/runid={run['run_id']}" in done.out
    assert list(run["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]) == ["doctor"]
    assert "rewardlab-git" in json.dumps(run["pipeline_spec"]["platform_spec"])
    assert run["runtime_config"]["parameters"]["remote"] == "s3://bucket/dvc"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cron", "30 2 * * *", "--dry-run", *REPOSITORY], "has 5"),
        (["--cron", "0 61 2 * * *", "--dry-run", *REPOSITORY], "the minute of"),
        (["--cron", NIGHTLY, "--dry-run", "--data", "here.jsonl"], "does not see 'here.jsonl'"),
        (["--cron", NIGHTLY, "--dry-run", "--repository", "/srv/git"], "give --repository URL"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused_before_it_is_asked(options: list[str], message: str) -> None:
    done = rewardlab("schedule", *options)
    assert done.code == 1
    assert message in done.complaint


@given(st.text(alphabet="0123456789*/-, ?LWxyz", max_size=24) | st.from_regex(r"(([0-9*?]{1,2}[-/,]?){1,3} ){6}"))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    try:
        checked = check_cron(text)
    except ValueError:
        return
    fake_kubeflow.check_cron(checked)
    assert len(next_times(checked, after=datetime(2026, 11, 25, 12, tzinfo=UTC))) == 3


@pytest.mark.parametrize("cron", ["0 0 9 * * 7", "0 0 9 L * *", "0 0 9 * * 1#2", "0 0 9 * * 5-1", "0 */0 9 * * *"])
def test_what_the_server_does_not_read_is_refused_here(cron: str) -> None:
    with pytest.raises(ValueError, match=r"field|range|number|literal"):
        fake_kubeflow.check_cron(cron)
    with pytest.raises(ValueError, match="Kubeflow reads"):
        check_cron(cron)


def test_times_are_utc_and_seconds_come_first() -> None:
    noon = datetime(2026, 11, 25, 12, tzinfo=UTC)
    (after,) = next_times("15 30 2 * * *", after=noon, num=1)
    assert after == datetime(2026, 11, 26, 2, 30, 15, tzinfo=UTC)
    assert in_words("0 0 9 * * 1") == "At 09:00, only on Monday (UTC)"
