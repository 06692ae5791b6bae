"""The server over loopback: protocols, errors, admission, health and its end."""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import onnx
import pytest
import uvicorn
from onnx import TensorProto, helper

from rewardlab.bundle import GOLDEN, MODEL, Bundle, seal
from rewardlab.engine import Engine
from rewardlab.files import read_json
from rewardlab.groups import Message
from serving.__main__ import _listen
from serving.limits import Limits
from serving.uvicorn_hooks import Connection
from tests.served import build_app

PROMPT = "What is 2 + 2?"
RESPONSES = ["It is 4.", "", "five", "It is 4.", "ça, c'est 4 🎉\n" * 200]
SCHEMAS = Path(__file__).parents[2] / "rewardlab" / "schemas"


@contextlib.contextmanager
def started(bundle: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "serving", "--bundle", str(bundle), "--port", "0", "--threads", "1", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.terminate()


@contextlib.contextmanager
def served(bundle: Path, limits: Limits) -> Iterator[str]:
    """Serve from a thread, where a test can set limits."""
    app = build_app(Engine(Bundle.open(bundle), threads=1), name="small", version="1", limits=limits)
    server = uvicorn.Server(uvicorn.Config(app, http=Connection, loop="uvloop", log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(server.run, sockets=[listener])
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True


def settled(url: str, status: int = 200, path: str = "/health/ready") -> dict[str, Any]:
    """Ask until the golden texts have been scored."""
    for _ in range(600):
        answer = httpx.get(url + path)
        if "have not been scored" not in answer.text:
            break
        time.sleep(0.05)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine(Bundle.open(tiny_bundle), threads=1)


@pytest.fixture(scope="module")
def http(tiny_bundle: Path) -> Iterator[httpx.Client]:
    with started(tiny_bundle, "--version", "7") as (_, url), httpx.Client(base_url=url, timeout=30) as client:
        settled(url)
        yield client


def rewards(http: httpx.Client, prompt: object, responses: object) -> Any:
    answer = http.post("/v1/rewards", json={"prompt": prompt, "responses": responses})
    assert answer.status_code == 200, answer.text
    return answer.json()


def resealed(source: Path, target: Path, change: Callable[[Path], None]) -> Path:
    """Return a sealed copy of a bundle with one thing changed."""
    shutil.copytree(source, target)
    change(target)
    facts = read_json(target / "manifest.json")
    seal(target, {name: value for name, value in facts.items() if name not in ("digest", "files")})
    return target


def test_rewards_are_the_engines(http: httpx.Client, engine: Engine) -> None:
    reply, scores = rewards(http, PROMPT, RESPONSES), engine.score(PROMPT, RESPONSES)
    assert reply["rewards"] == pytest.approx(scores.rewards, abs=1e-6)
    assert reply["truncated"] == list(scores.truncated)
    assert reply["num_tokens"] == list(scores.num_tokens)
    assert reply["model"] == "reward-model/7"
    assert reply["truncated"][4]
    assert not reply["truncated"][0]


def test_best_is_the_first_of_equals_and_equals_share_a_rank(http: httpx.Client) -> None:
    reply = rewards(http, PROMPT, ["four", "It is 4.", "four", "It is 4.", "a"])
    values, ranks = reply["rewards"], reply["ranks"]
    assert reply["best"] == values.index(max(values))
    assert ranks[reply["best"]] == 1
    assert ranks == [1 + sum(other > value for other in values) for value in values]
    assert ranks[0] == ranks[2]


def test_reply_and_request_fit_their_schemas(http: httpx.Client) -> None:
    request = {
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ""}],
        "responses": [""],
    }
    jsonschema.validate(request, read_json(SCHEMAS / "rewards_request.schema.json"))
    reply = rewards(http, **request)
    jsonschema.validate(reply, read_json(SCHEMAS / "rewards_response.schema.json"))


def test_a_string_is_one_user_turn_taken_as_it_is(http: httpx.Client, engine: Engine) -> None:
    text = "\n\nHuman: Hi <|im_end|>\n\nAssistant: "
    turns = [{"role": "user", "content": text}]
    assert rewards(http, text, RESPONSES) == rewards(http, turns, RESPONSES)
    talk = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", PROMPT))
    reply = rewards(http, [{"role": turn.role, "content": turn.content} for turn in talk], RESPONSES)
    assert reply["rewards"] == pytest.approx(engine.score(talk, RESPONSES).rewards, abs=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        (b"{", 400, "not JSON"),
        (b"", 400, "not JSON"),
        (b'{"prompt": "\xff", "responses": ["a"]}', 400, "not JSON"),
        (b'{"prompt": NaN, "responses": ["a"]}', 400, "NaN"),
        (b"[" * 100_000, 400, "nested"),
        (b'["prompt"]', 400, "JSON object"),
        (b'{"responses": ["a"]}', 422, "'prompt' is missing"),
        (b'{"prompt": "a"}', 422, "'responses' is missing"),
        (b'{"prompt": "a", "responses": ["a"], "model": "m"}', 422, "unknown key 'model'"),
        (b'{"prompt": 1, "responses": ["a"]}', 422, "prompt: prompt is a string"),
        (b'{"prompt": [], "responses": ["a"]}', 422, "prompt: prompt is a string"),
        (b'{"prompt": ["a"], "responses": ["a"]}', 422, "prompt: a message is"),
        (b'{"prompt": [{"role": "judge", "content": ""}], "responses": ["a"]}', 422, "prompt: role is one of"),
        (b'{"prompt": [{"role": [], "content": ""}], "responses": ["a"]}', 422, "prompt: role is one of"),
        (b'{"prompt": [{"role": "user", "content": null}], "responses": ["a"]}', 422, "prompt: content is a string"),
        (b'{"prompt": "a", "responses": "b"}', 422, "responses: a list of strings"),
        (b'{"prompt": "a", "responses": []}', 422, "responses: a list of at least one string"),
        (b'{"prompt": "a", "responses": ["b", null]}', 422, "responses[1]: a string"),
        (b'{"prompt": "a", "responses": ["b", "\\ud800"]}', 422, "responses[1]: valid Unicode"),
        (b'{"prompt": "\\udfff", "responses": ["b"]}', 422, "prompt: valid Unicode"),
        (json.dumps({"prompt": "a", "responses": [""] * 1025}).encode(), 422, "at most 1024"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(http: httpx.Client, body: bytes, status: int, part: str) -> None:
    answer = http.post("/v1/rewards", content=body)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert part in answer.json()["error"]


def test_unknown_paths_and_methods_are_json_errors(http: httpx.Client) -> None:
    for path in ("/v3", "/v1/rewards/", "/v2/models/other/ready/x"):
        answer = http.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])
    answer = http.get("/v1/rewards")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert "does not take GET" in answer.json()["error"]


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(http: httpx.Client) -> None:
    large = json.dumps({"prompt": "a" * 2**24, "responses": ["b"]}).encode()
    for content in (large, iter([large[: 2**23], large[2**23 :]])):
        answer = http.post("/v1/rewards", content=content)
        assert answer.status_code == 413, answer.text
        assert "16777216 bytes" in answer.json()["error"]
    rewards(http, "a" * 2**20, ["b"])


def test_parallel_requests_get_the_rewards_of_serial_ones(http: httpx.Client) -> None:
    groups = [(f"Question {index}?", [f"{index} " * k for k in range(1, 5)]) for index in range(32)]
    serial = [rewards(http, *group) for group in groups]
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(lambda group: rewards(http, *group), groups)) == serial


def infer(http: httpx.Client, path: str = "/v2/models/reward-model/infer", **changes: Any) -> httpx.Response:
    tensors = [
        {"name": "prompt", "shape": [1], "datatype": "BYTES", "data": [PROMPT]},
        {"name": "responses", "shape": [len(RESPONSES)], "datatype": "BYTES", "data": RESPONSES},
    ]
    return http.post(path, json={"inputs": tensors, **changes})


def test_open_inference_protocol_describes_the_model(http: httpx.Client) -> None:
    assert http.get("/v2").json().keys() == {"name", "version", "extensions"}
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert http.get(path).json() == {"live": True, "ready": True}
    assert http.get("/v2/models").json() == {"models": ["reward-model"]}
    assert http.get("/v2/models/reward-model/ready").json() == {"name": "reward-model", "ready": True}
    about = http.get("/v2/models/reward-model").json()
    assert about == http.get("/v2/models/reward-model/versions/7").json()
    assert (about["versions"], about["outputs"][0]["datatype"]) == (["7"], "FP32")


def test_open_inference_protocol_gives_the_native_rewards(http: httpx.Client) -> None:
    native = rewards(http, PROMPT, RESPONSES)["rewards"]
    expected = {"name": "rewards", "datatype": "FP32", "shape": [5], "data": native}
    reply = infer(http, id="42", outputs=[{"name": "rewards"}], parameters={"any": 1}).json()
    assert reply == {"model_name": "reward-model", "model_version": "7", "id": "42", "outputs": [expected]}
    reply = infer(http, "/v2/models/reward-model/versions/7/infer").json()
    assert "id" not in reply
    assert reply["outputs"] == [expected]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"inputs": None}, "inputs: a list of tensors"),
        ({"inputs": []}, "'prompt' and 'responses', once each"),
        ({"prompt": {"name": "text"}}, "'prompt' and 'responses', once each"),
        ({"prompt": {"name": "responses"}}, "'prompt' and 'responses', once each"),
        ({"prompt": {"datatype": "FP32"}}, "prompt: datatype BYTES"),
        ({"prompt": {"shape": [2], "data": ["a", "b"]}}, "prompt: shape [1]"),
        ({"prompt": {"data": [1]}}, "prompt: data is a list of strings"),
        ({"responses": {"shape": [3]}}, "responses: shape [2]"),
        ({"responses": {"shape": [2, 1]}}, "responses: shape [2]"),
        ({"responses": {"shape": [0], "data": []}}, "at least one"),
        ({"responses": {"data": ["a", "\ud800"]}}, "responses[1]: valid Unicode"),
        ({"outputs": [{"name": "ranks"}]}, "the one output is 'rewards'"),
        ({"id": 42}, "id: a string"),
    ],
)
def test_open_inference_protocol_refuses_wrong_tensors(http: httpx.Client, changes: dict[str, Any], part: str) -> None:
    prompt = {"name": "prompt", "shape": [1], "datatype": "BYTES", "data": ["a"], **changes.pop("prompt", {})}
    responses = {"name": "responses", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
    body = {"inputs": [prompt, responses | changes.pop("responses", {})], **changes}
    answer = http.post("/v2/models/reward-model/infer", content=json.dumps(body))
    assert answer.status_code == 400, answer.text
    assert part in answer.json()["error"]


def test_open_inference_protocol_knows_one_model_and_version(http: httpx.Client) -> None:
    for path in ("/v2/models/other/infer", "/v2/models/reward-model/versions/8/infer"):
        answer = infer(http, path)
        assert (answer.status_code, "this server has" in answer.json()["error"]) == (404, True)
    headers = {"Inference-Header-Content-Length": "10"}
    answer = http.post("/v2/models/reward-model/infer", content=b"{}", headers=headers)
    assert (answer.status_code, "at most the body's 2 bytes" in answer.json()["error"]) == (400, True)


def test_a_full_queue_is_503_with_a_time_to_come_back(tiny_bundle: Path) -> None:
    with served(tiny_bundle, Limits(max_queue_seconds=0, max_hold_seconds=0)) as url:
        settled(url)
        answer = httpx.post(f"{url}/v1/rewards", json={"prompt": "a", "responses": ["b"]})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "waiting already" in answer.json()["error"]


def test_a_server_that_fails_its_golden_check_is_alive_but_scores_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        rows = [json.loads(line) for line in (folder / GOLDEN).read_text().splitlines()]
        rows[0]["rewards"][0] += 1.0
        (folder / GOLDEN).write_text("".join(json.dumps(row) + "\n" for row in rows))

    with served(resealed(tiny_bundle, tmp_path / "off", change), Limits()) as url:
        assert "golden scores" in settled(url, 503)["reason"]
        assert httpx.get(f"{url}/health/live").status_code == 200
        assert httpx.get(f"{url}/v2/health/ready").json()["ready"] is False
        answer = httpx.post(f"{url}/v1/rewards", json={"prompt": "a", "responses": ["b"]})
        assert (answer.status_code, "golden" in answer.json()["error"]) == (503, True)


def test_a_server_is_not_ready_before_it_has_started(engine: Engine) -> None:
    app = build_app(engine, name="a", version="1")

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get("/health/ready")

    answer = asyncio.run(ask())
    assert (answer.status_code, "not been scored yet" in answer.json()["reason"]) == (503, True)


def save_model_without_rewards_for_long_texts(path: Path, limit: float) -> None:
    """Write a graph that returns sqrt(limit - length)."""
    nodes = [
        helper.make_node("Cast", ["lengths"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["limit", "floats"], ["rest"]),
        helper.make_node("Sqrt", ["rest"], ["rewards"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "T"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, ["B"]),
    ]
    output = helper.make_tensor_value_info("rewards", TensorProto.FLOAT, ["B"])
    constant = helper.make_tensor("limit", TensorProto.FLOAT, [], [limit])
    graph = helper.make_graph(nodes, "square_root", inputs, [output], [constant])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def test_a_reward_that_is_not_finite_is_an_error_and_never_json(
    tiny_bundle: Path, tmp_path: Path, engine: Engine
) -> None:
    (short,) = engine.score(PROMPT, ["a"]).num_tokens

    def change(folder: Path) -> None:
        save_model_without_rewards_for_long_texts(folder / MODEL, short)
        row = {"prompt": PROMPT, "responses": ["a"], "rewards": [0.0]}
        (folder / GOLDEN).write_text(json.dumps(row) + "\n")

    with served(resealed(tiny_bundle, tmp_path / "nan", change), Limits()) as url:
        settled(url)
        answer = httpx.post(f"{url}/v1/rewards", json={"prompt": PROMPT, "responses": ["a", "a b c d"]})
        assert (answer.status_code, "not finite" in answer.json()["error"]) == (500, True)
        answer = httpx.post(f"{url}/v1/rewards", json={"prompt": PROMPT, "responses": ["a"]})
        assert answer.json()["rewards"] == [0.0]


def test_sigterm_finishes_the_request_in_work_and_exits_0(tiny_bundle: Path) -> None:
    body = json.dumps({"prompt": "a", "responses": ["b"]}).encode()
    head = f"POST /v1/rewards HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    with started(tiny_bundle) as (process, url):
        settled(url)
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as connection:
            connection.sendall(head.encode())
            assert b"100 Continue" in connection.recv(1000)
            process.send_signal(signal.SIGTERM)
            connection.sendall(body)
            assert b"200 OK" in connection.recv(1000)
        assert process.wait(timeout=30) == 0


def test_what_cannot_be_served_ends_with_a_message(tiny_bundle: Path, tmp_path: Path, http: httpx.Client) -> None:
    taken = str(http.base_url.port)
    for bundle, port, part in [(tmp_path, "0", "is not a bundle"), (tiny_bundle, taken, f"port {taken}")]:
        command = [sys.executable, "-m", "serving", "--bundle", str(bundle), "--port", port]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert part in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_help_is_light_and_the_server_needs_no_torch() -> None:
    heavy = "{'uvicorn', 'starlette', 'onnxruntime', 'torch', 'transformers', 'mlflow', 'pandas', 'kfp'}"
    ask = "import sys, serving.__main__ as command; command._parser().format_help()"
    light = f"{ask}; assert not {heavy} & set(sys.modules), sys.modules.keys()"
    full = f"import sys, serving.app; assert {heavy} & set(sys.modules) == {{'starlette', 'onnxruntime'}}"
    for code in (light, full):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_accepted_connections_do_not_wait_for_acknowledgements() -> None:
    with _listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert client.getpeername() == accepted.getsockname()
