"""`rewardlab serve`: what its options become, and a server that goes along with an alias."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import rewardlab as library
from steps.registry.client import connect
from tests.command import rewardlab
from tests.gated import add, report
from tests.mlflow_server import mlflow_server
from tests.served import settled

COMMAND = [str(Path(sys.executable).parent / "rewardlab"), "serve", "--port", "0"]
TOKEN = {"Authorization": "Bearer let me in"}


@pytest.mark.parametrize("model", ["3", "models:/m/3", "models:/m", "models:/m/3@production"])
def test_only_an_alias_is_followed(model: str) -> None:
    done = rewardlab("serve", "--follow", "--model", model, "--name", "m")
    wanted = f"--follow takes an alias, such as champion or models:/m@champion, got {model!r}"
    assert (done.code, done.complaint) == (1, wanted)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "a model is followed over HTTP: set MLFLOW_TRACKING_URI to an MLflow server's address, not ''"),
        ("sqlite:///a.db", "start one with `mlflow server`"),
        ("http://127.0.0.1:9", "models:/m@champion cannot be found in http://127.0.0.1:9"),
    ],
)
def test_without_a_server_to_ask_it_ends_with_a_message(uri: str, message: str, tmp_path: Path) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    done = subprocess.run(
        [*COMMAND, "--follow", "--name", "m"],
        env=environment,
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert done.stderr.startswith("serving: ")
    assert message in done.stderr


@contextmanager
def following(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen([*COMMAND, "--follow", *options], stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.slow
def test_follow_goes_along_when_the_alias_moves_and_keeps_protocol_and_tokens(
    tiny_bundle: Path, other_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENS", '{"trainer": {"token": "let me in"}}')
    options = ("--model", "production", "--name", "m", "--protocol", "openrlhf", "--tokens", "env:TOKENS")
    with mlflow_server(tmp_path) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        first, second = (
            add(report(tmp_path, each), each, run_id=each.parent.name) for each in (tiny_bundle, other_bundle)
        )
        connect().set_registered_model_alias("m", "production", first.rpartition("/")[2])
        with following(tmp_path, *options) as (process, line):
            assert line.startswith(f"serving {first} at http://127.0.0.1:")
            url = line.split()[-1]
            settled(url)
            assert httpx.post(f"{url}/v1/rewards", json={"prompt": "Hi", "responses": ["a"]}).status_code == 401
            assert httpx.post(f"{url}/get_reward", headers=TOKEN, json={"query": ["Hi"]}).status_code != 404
            assert asked(url)["rewards"] == list(library.load(str(tiny_bundle)).score("Hi", ["a", "b"]))
            connect().set_registered_model_alias("m", "production", second.rpartition("/")[2])
            deadline = time.monotonic() + 60
            while (reply := asked(url))["model"] == first and time.monotonic() < deadline:
                time.sleep(0.2)
            assert reply["model"] == second
            assert reply["rewards"] == list(library.load(str(other_bundle)).score("Hi", ["a", "b"]))
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def asked(url: str) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/rewards", headers=TOKEN, json={"prompt": "Hi", "responses": ["a", "b"]})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("option", ["--protocol", "--dialect"])
def test_the_protocol_at_the_root_is_handed_to_the_server(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[list[str]] = []
    monkeypatch.setattr("commands.serve.become_server", lambda _, options, **__: handed.append(list(options)))
    assert rewardlab("serve", option, "tei").code == 0
    assert handed[0][-2:] == ["--protocol", "tei"]
