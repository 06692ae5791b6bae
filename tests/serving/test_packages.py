"""KServe's and Triton's own clients, whole, and the server where nothing but its own packages is installed."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.server_process import serving
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from serving.app import app_of
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.scorer import Scorer
from tests.environments import alone, environment
from tests.served import running, settled
from tests.serving.test_clients import PROMPT, RESPONSES, whole

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ROOMS = ("rewardlab", "models", "synthetic", "steps", "components", "pipelines", "commands", "serving")
MOST_MEGABYTES = 500
KSERVE = """
import asyncio, json, sys
from kserve import InferInput, InferRequest, InferenceRESTClient, RESTConfig

url, prompt, responses = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

async def ask(protocol, data, **more):
    client = InferenceRESTClient(RESTConfig(protocol=protocol, timeout=60))
    assert await client.is_server_live(url) if protocol == "v2" else True
    return await client.infer(url, data, model_name="reward-model", **more)

def tensors(binary):
    made = []
    for name, texts in (("prompt", [prompt]), ("responses", responses)):
        tensor = InferInput(name, [len(texts)], "BYTES")
        if binary:
            import numpy
            tensor.set_data_from_numpy(numpy.array([text.encode() for text in texts], dtype=object), binary_data=True)
        else:
            tensor.set_data_from_numpy(numpy_texts(texts), binary_data=False)
        made.append(tensor)
    return InferRequest(model_name="reward-model", infer_inputs=made)

def numpy_texts(texts):
    import numpy
    return numpy.array([text.encode() for text in texts], dtype=object)

found = [asyncio.run(ask("v2", tensors(binary))).outputs[0].as_numpy().ravel().tolist() for binary in (False, True)]
answer = asyncio.run(ask("v1", {"instances": [{"prompt": prompt, "responses": responses}]}))
print(json.dumps([*found, answer["predictions"][0]]))
"""
TRITON = """
import json, sys
import numpy
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

address, prompt, responses, whole = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])

def tensor(name, texts, shape, binary):
    made = InferInput(name, shape, "BYTES")
    made.set_data_from_numpy(numpy.array([t.encode() for t in texts], dtype=object).reshape(shape), binary_data=binary)
    return made

def rewards(client, model, inputs, binary):
    outputs = [InferRequestedOutput("rewards", binary_data=binary)]
    return client.infer(model, inputs, outputs=outputs).as_numpy("rewards").ravel().tolist()

client = InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("reward-model")
found = []
for binary in (True, False):
    inputs = [tensor("prompt", [prompt], [1], binary), tensor("responses", responses, [len(responses)], binary)]
    found.append(rewards(client, "reward-model", inputs, binary))
nemo = InferenceServerClient(address + "/nemo")
assert nemo.is_server_live() and nemo.is_model_ready("reward_model")
found.append(rewards(nemo, "reward_model", [tensor("sentences", whole, [len(whole), 1], True)], True))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine(Bundle.open(tiny_bundle), threads=1)


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    with running(app_of(Scorer(LoadedModel.of(engine, name="reward-model", version="3"), Limits()))) as url:
        settled(url)
        yield url


def answers(python: Path, script: str, *arguments: str) -> list[list[float]]:
    done = subprocess.run(
        [python, "-c", script, *arguments], capture_output=True, text=True, check=False, timeout=300, env=alone()
    )
    assert done.returncode == 0, done.stderr
    found: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_kserves_own_client(url: str, engine: Engine, tmp_path: Path) -> None:
    python = environment(tmp_path / "kserve", "kserve==0.21.0")
    found = answers(python, KSERVE, url, PROMPT, json.dumps(RESPONSES))
    assert found == [list(engine.score(PROMPT, RESPONSES).rewards)] * 3


def test_tritons_own_client(url: str, engine: Engine, tmp_path: Path) -> None:
    python = environment(tmp_path / "triton", "tritonclient[http]==2.73.0")
    texts = json.dumps([whole(engine, response) for response in RESPONSES])
    found = answers(python, TRITON, url.removeprefix("http://"), PROMPT, json.dumps(RESPONSES), texts)
    assert found == [list(engine.score(PROMPT, RESPONSES).rewards)] * 3


def test_the_serve_extra_alone_serves_within_its_size(tiny_bundle: Path, engine: Engine, tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    python = environment(tmp_path / "venv", f"{tmp_path}[serve]")
    for room in ROOMS:
        shutil.rmtree(tmp_path / room)
    megabytes = sum(path.stat().st_size for path in (tmp_path / "venv").rglob("*") if path.is_file()) / 2**20
    assert megabytes <= MOST_MEGABYTES
    listed = subprocess.run(
        [python, "-c", "import importlib.metadata as m; print(*(d.name.lower() for d in m.distributions()))"],
        capture_output=True,
        text=True,
        check=True,
        env=alone(),
    )
    assert not {"torch", "mlflow", "pandas", "transformers", "scipy", "kfp"} & set(listed.stdout.split())
    with serving(tiny_bundle, python=python, environment=alone()) as server:
        reply = httpx.post(f"{server.url}/v1/rewards", json={"prompt": PROMPT, "responses": RESPONSES}, timeout=30)
    assert reply.json()["rewards"] == list(engine.score(PROMPT, RESPONSES).rewards)
