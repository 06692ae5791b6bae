"""Every example in the library's docstrings runs as it stands, beside a bundle, a file of pairs and a server."""

import doctest
import importlib
import json
import pkgutil

import pytest

import rewardlab
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from tests.served import build_app, running

MODULES = ["rewardlab", *(found.name for found in pkgutil.walk_packages(rewardlab.__path__, "rewardlab."))]
PAIRS = [("What is 2 + 2?", "It is 4.", "It is 5."), ("Name a fruit.", "A plum.", "A chair."), ("Hi", "Hello!", "No.")]


@pytest.fixture(scope="module")
def place(tiny_bundle, tmp_path_factory):
    """Return a folder with `bundle` and `pairs.jsonl`."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "bundle").symlink_to(tiny_bundle)
    rows = [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in PAIRS]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def url(tiny_bundle):
    """Return where a server of the bundle is."""
    with running(build_app(Engine(Bundle.open(tiny_bundle)), name="reward-model", version="1")) as address:
        yield address


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, place, url, monkeypatch):
    monkeypatch.chdir(place)
    assert doctest.testmod(importlib.import_module(name), extraglobs={"url": url}).failed == 0
