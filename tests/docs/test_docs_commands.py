"""Every command of docs/ runs: each page from top to bottom, in a folder of its own."""

import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import said
from tests import stand_in_hub
from tests.container_engine import engine_socket
from tests.pages import DOCS, PAGES, Block, agrees, blocks, commands, follow

TRAINING = ["how-to/objectives.md", "how-to/runs.md", "how-to/training.md", "tutorial.md"]
"""They begin with nothing and train; the other pages begin with two registered versions."""
CONTAINERS = ["how-to/images.md"]
"""They need images, which `make image` has built, and podman."""
CLUSTERS = ["deploy.md"]
"""They need a cluster, whose place a stand-in takes."""
PAIRS = b'{"prompt": "Name a fruit.", "chosen": "A plum.", "rejected": "A chair."}\n'


@pytest.fixture
def port() -> int:
    """Return a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment of a machine whose S3 and hub hold the pages' data."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, number = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    given = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    bucket = boto3.client("s3", endpoint_url=f"http://{host}:{number}", **given)
    bucket.create_bucket(Bucket="my-bucket")
    bucket.put_object(Bucket="my-bucket", Key="pairs/one.jsonl", Body=PAIRS)
    with stand_in_hub.serve({"my-org/pairs": {"train.jsonl": PAIRS, "test.jsonl": PAIRS}}) as hub:
        home = str(tmp_path_factory.mktemp("hub"))
        yield {
            **keys,
            "AWS_ENDPOINT_URL": f"http://{host}:{number}",
            "HF_ENDPOINT": hub,
            "HF_HOME": home,
            "HF_HUB_OFFLINE": "0",
        }
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({*PAGES} - {*TRAINING, *CONTAINERS, *CLUSTERS}))
def test_the_commands_of_a_page_run(
    page: str, tmp_path: Path, versions: None, elsewhere: dict[str, str], port: int
) -> None:
    (tmp_path / "place").mkdir()
    follow(page, tmp_path / "place", elsewhere, port=port, timeout=900)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder in which make says what it would do, and there is no registry."""
    for name in ("Makefile", "requirements", "pyproject.toml"):
        (tmp_path / name).symlink_to(DOCS.parent / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", TRAINING)
def test_the_commands_of_a_page_that_trains_run(page: str, clone: Path, port: int) -> None:
    follow(page, clone, {"MAKEFLAGS": "n", "REWARDLAB_HOME": ""}, port=port, timeout=3600)


@pytest.mark.images
@pytest.mark.parametrize("page", CONTAINERS)
def test_the_commands_of_a_page_on_containers_run(page: str, clone: Path) -> None:
    with engine_socket(clone) as address:
        told = {"MAKEFLAGS": "n", "REWARDLAB_HOME": "", "DOCKER_HOST": address}
        follow(page, clone, told, port=8080, timeout=3600)  # the Deployment's own port


@pytest.mark.slow
@pytest.mark.parametrize("page", CLUSTERS)
def test_the_commands_of_a_page_on_a_cluster_run(page: str, tmp_path: Path, tiny_bundle: Path, port: int) -> None:
    for folder in ("state", "bin", "place"):
        (tmp_path / folder).mkdir()
    stand_in = tmp_path / "bin" / "kubectl"
    stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.cluster.kubectl "$@"\n')
    stand_in.chmod(0o755)
    (tmp_path / "place" / "rewardlab").symlink_to(DOCS.parent)
    told = {
        "PYTHONPATH": str(DOCS.parent),
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "REWARDLAB_HOME": "",
        "STAND_IN_STATE": str(tmp_path / "state"),
        "STAND_IN_BUNDLE": str(tiny_bundle),
    }
    follow(page, tmp_path / "place", told, port=port, timeout=900)


def test_every_command_that_a_text_names_is_one_with_its_options() -> None:
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        for name, rest in re.findall(r"`rewardlab ([a-z-]+)([^`]*)`", text):
            help_text = said(name, "--help")
            assert "Usage: rewardlab" in help_text, f"{page}: rewardlab {name}"
            assert [option for option in re.findall(r"--[a-z-]+", rest) if option not in help_text] == [], page


def test_a_session_is_commands_and_what_they_print() -> None:
    session = "$ one\nsays\n$ two \\\n> more\n$ three\n"
    found = [(command.code, command.shown) for command in commands(Block("console", "", session))]
    assert found == [("one", "says"), ("two \\\nmore", ""), ("three", "")]
    with pytest.raises(ValueError, match="begins with"):
        list(commands(Block("console", "", "rewardlab run\n")))


def test_what_is_shown_must_be_printed() -> None:
    assert agrees("a  \n b\n", "a\n b")
    assert agrees("took 3 s\nb", "took ... s\nb")
    assert agrees("anything", "")
    assert not agrees("a\nb", "a")
    for printed in ("b", "a\nb", "a\nc\nb"):
        assert agrees(printed, "...\nb")
        assert not agrees(printed, "...\na")
    assert agrees("a", "a\n...")


def test_a_command_that_nobody_would_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.pages.DOCS", tmp_path)
    for fence, message in (("bash\nls\n", "a fence is console"), ("text\nrewardlab run\n", "looks like a command")):
        (tmp_path / "a.md").write_text(f"```{fence}```\n")
        with pytest.raises(ValueError, match=message):
            blocks("a.md")


def test_a_page_whose_command_fails_or_says_something_else_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.pages.DOCS", tmp_path)
    for body, message in (("$ false\n", "exit code 1"), ("$ echo a\nb\n", "printed:\na"), ("$ exit 0\n", "stopped")):
        (tmp_path / "a.md").write_text(f"```console\n{body}```\n")
        with pytest.raises(AssertionError, match=message):
            follow("a.md", tmp_path, {}, port=65535, timeout=10)
