"""Every protocol gives the native rewards, to the bit: requests as each client sends them."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from rewardlab.bundle import Bundle
from rewardlab.chat import render
from rewardlab.engine import Engine
from rewardlab.groups import Message, messages
from serving.app import app_of
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.protocols import load_protocols
from serving.scorer import Scorer
from tests.served import running, settled

PROMPT = "What is 2 + 2?"
RESPONSES = ["It is 4.", "", "five\n\n", " 4"]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": PROMPT},
]


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine(Bundle.open(tiny_bundle), threads=1)


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    scorer = Scorer(LoadedModel.of(engine, name="small", version="3"), Limits(max_item_bytes=2**16))
    with running(app_of(scorer)) as url:
        settled(url)
        yield url


def post(url: str, path: str, body: Any, status: int = 200) -> Any:
    answer = httpx.post(url + path, content=json.dumps(body), timeout=30)
    assert answer.status_code == status, answer.text
    assert status != 200 or answer.headers["X-Model"] == "small/3"
    return answer.json()


@pytest.fixture(scope="module")
def native(url: str) -> list[float]:
    return list(post(url, "/v1/rewards", {"prompt": PROMPT, "responses": RESPONSES})["rewards"])


@pytest.fixture(scope="module")
def native_talk(url: str) -> list[float]:
    return list(post(url, "/v1/rewards", {"prompt": TALK, "responses": RESPONSES})["rewards"])


def text(engine: Engine, response: str, prompt: Any = PROMPT, *, end: str = "<|im_end|>") -> str:
    """Return what a policy's tokenizer decodes: the rendered prompt, the response, the end of its turn."""
    readout = engine.bundle.readout
    return render(readout.template, messages(prompt), special_tokens=readout.special_tokens) + response + end


def full(engine: Engine, response: str) -> str:
    readout = engine.bundle.readout
    turns = (*messages(PROMPT), Message("assistant", response))
    return render(readout.template, turns, special_tokens=readout.special_tokens, add_generation_prompt=False)


@pytest.mark.parametrize("end", ["<|im_end|>", "<|im_end|>\n", ""])
def test_openrlhf(url: str, engine: Engine, native: list[float], native_talk: list[float], end: str) -> None:
    """As openrlhf/utils/agent.py of 0.11.2: one query a call, with its prompt and label."""
    for prompt, expected in ((PROMPT, native), (TALK, native_talk)):
        for response, reward in zip(RESPONSES, expected, strict=True):
            query = text(engine, response, prompt, end=end)
            head = text(engine, "", prompt, end="")
            for body in ({"query": [query], "prompts": [head], "labels": [None]}, {"query": [query]}):
                reply = post(url, "/openrlhf/get_reward", body)
                assert reply["rewards"] == reply["scores"] == [reward]
                assert reply["extra_logs"]["literal_marker"] == [0.0]


def test_verl_with_vllm_and_with_sglang(url: str, engine: Engine, native: list[float]) -> None:
    """As verl/experimental/reward_loop/reward_loop.py of 0.9.1: the whole chat, rendered, without its BOS."""
    bos = engine.bundle.readout.special_tokens.get("bos_token") or ""
    for response, reward in zip(RESPONSES, native, strict=True):
        sent = full(engine, response).removeprefix(bos)
        reply = post(url, "/verl/classify", {"model": "rm", "input": sent, "use_activation": False})
        assert reply["data"][-1]["probs"][-1] == reward
        reply = post(url, "/verl/v1/embeddings", {"model": "rm", "input": sent})
        assert reply["data"][-1]["embedding"][-1] == reward


def test_vllm_classify_and_pooling(url: str, engine: Engine, native: list[float]) -> None:
    texts = [text(engine, response) for response in RESPONSES]
    reply = post(url, "/vllm/classify", {"model": "rm", "input": texts})
    assert [entry["probs"] for entry in reply["data"]] == [[reward] for reward in native]
    assert (reply["object"], reply["model"], reply["data"][1]["num_classes"]) == ("list", "small/3", 1)
    assert reply["usage"]["prompt_tokens"] > 0
    reply = post(url, "/vllm/pooling", {"model": "rm", "input": texts[0], "task": "classify"})
    assert (reply["data"][0]["object"], reply["data"][0]["data"]) == ("pooling", native[:1])
    chat = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": RESPONSES[2]}]
    assert post(url, "/vllm/classify", {"messages": chat})["data"][0]["probs"] == [native[2]]


def test_token_ids_are_read_as_their_text(url: str, engine: Engine, native: list[float], tiny_bundle: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_bundle / "tokenizer.json"))
    ids = [tokenizer.encode(text(engine, each), add_special_tokens=False).ids for each in RESPONSES]
    reply = post(url, "/vllm/classify", {"input": ids})
    assert [entry["probs"][0] for entry in reply["data"]] == native
    assert post(url, "/vllm/classify", {"input": ids[0]})["data"][0]["probs"] == native[:1]
    assert post(url, "/sglang/classify", {"input_ids": ids[1]})["embedding"] == [native[1]]
    reply = post(url, "/vllm/classify", {"input": [10**9]}, 422)
    assert "token ids are in 0.." in reply["error"]
    width = max(map(len, ids)) + 3
    padded = [[*row, *[0] * (width - len(row))] for row in ids]
    tensors = [("tokens", padded), ("sequence_lengths", [[len(row)] for row in ids])]
    inputs = [
        {"name": name, "datatype": "INT64", "shape": list(np.shape(data)), "data": data} for name, data in tensors
    ]
    reply = post(url, "/nemo/v2/models/reward_model/infer", {"inputs": inputs})
    assert (reply["outputs"][0]["shape"], reply["outputs"][0]["data"]) == ([4, 1], native)


def test_vllm_score_and_rerank(url: str, native: list[float]) -> None:
    for queries, documents in (("queries", "documents"), ("text_1", "text_2"), ("data_1", "data_2")):
        reply = post(url, "/vllm/score", {"model": "rm", queries: PROMPT, documents: RESPONSES})
        assert [entry["score"] for entry in reply["data"]] == native
    each = post(url, "/vllm/v1/score", {"text_1": [PROMPT] * 4, "text_2": RESPONSES})
    assert [entry["score"] for entry in each["data"]] == native
    reply = post(url, "/vllm/v2/rerank", {"query": PROMPT, "documents": RESPONSES, "top_n": 2})
    assert [entry["relevance_score"] for entry in reply["results"]] == sorted(native, reverse=True)[:2]
    assert reply["results"][0]["document"]["text"] == RESPONSES[reply["results"][0]["index"]]


def test_sglang(url: str, engine: Engine, native: list[float]) -> None:
    texts = [text(engine, response) for response in RESPONSES]
    many = post(url, "/sglang/classify", {"text": texts})
    assert [entry["embedding"] for entry in many] == [[reward] for reward in native]
    one = post(url, "/sglang/classify", {"text": texts[0]})
    assert (one["embedding"], one["meta_info"]["model"]) == (native[:1], "small/3")
    talks = [[{"role": "user", "content": PROMPT}, {"role": "assistant", "content": each}] for each in RESPONSES]
    assert [entry["embedding"][0] for entry in post(url, "/sglang/classify", {"conv": talks})] == native
    reply = post(url, "/sglang/v1/score", {"query": PROMPT, "items": RESPONSES, "label_token_ids": [1]})
    assert (reply["object"], reply["scores"]) == ("scoring", [[reward] for reward in native])
    assert "one of text, input_ids, conv" in post(url, "/sglang/classify", {}, 422)["error"]


def test_slime(url: str, engine: Engine, native: list[float], native_talk: list[float]) -> None:
    """As slime/rollout/rm_hub: a number without a reward key, an object with one."""
    templated = text(engine, "", end="")
    for index, response in enumerate(RESPONSES):
        for prompt, expected in ((PROMPT, native), (templated, native), (TALK, native_talk)):
            body = {"prompt": prompt, "response": response + "<|im_end|>", "label": None}
            assert post(url, "/slime/rm", body) == expected[index]
            assert post(url, "/slime/rm/object", body)["score"] == expected[index]


def test_llama_factory(url: str, engine: Engine, native: list[float]) -> None:
    """As llamafactory/train/ppo/ppo_utils.py: all texts of a batch in one call, and `scores` read from the reply."""
    sent = {"model": "model", "messages": [text(engine, response) for response in RESPONSES]}
    reply = post(url, "/llamafactory/v1/score/evaluation", sent)
    assert (reply["object"], reply["scores"], reply["truncated"]) == ("score.evaluation", native, [False] * 4)


def packed(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(each.encode())) + each.encode() for each in texts)


def binary(url: str, path: str, tensors: dict[str, tuple[list[int], bytes]], **values: Any) -> tuple[Any, bytes]:
    """Send BYTES tensors as Triton's clients do; return the reply's JSON and what is behind it."""
    inputs = [
        {"name": name, "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
        for name, (shape, raw) in tensors.items()
    ]
    head = json.dumps({"inputs": inputs, **values}).encode()
    body = head + b"".join(raw for _, raw in tensors.values())
    answer = httpx.post(url + path, content=body, headers={"Inference-Header-Content-Length": str(len(head))})
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get("Inference-Header-Content-Length", len(answer.content)))
    return json.loads(answer.content[:length]), answer.content[length:]


def test_nemo_aligner_with_binary_tensors(url: str, engine: Engine, native: list[float]) -> None:
    """As pytriton's ModelClient asks: state, configuration, then binary tensors with the outputs as bytes."""
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/reward_model/ready"):
        assert httpx.get(f"{url}/nemo{path}").status_code == 200
    config = httpx.get(f"{url}/nemo/v2/models/reward_model/config").json()
    assert (config["name"], config["output"][0]["data_type"]) == ("reward_model", "TYPE_FP32")
    sentences = packed([text(engine, response) for response in RESPONSES])
    wanted = [{"name": "rewards", "parameters": {"binary_data": True}}]
    reply, raw = binary(
        url, "/nemo/v2/models/reward_model/infer", {"sentences": ([4, 1], sentences)}, outputs=wanted, id="7"
    )
    assert reply["outputs"][0] == {
        "name": "rewards",
        "datatype": "FP32",
        "shape": [4, 1],
        "parameters": {"binary_data_size": 16},
    }
    assert np.frombuffer(raw, "<f4").tolist() == native


def test_open_inference_protocol_in_binary(url: str, native: list[float]) -> None:
    tensors = {"prompt": ([1], packed([PROMPT])), "responses": ([4], packed(RESPONSES))}
    reply, raw = binary(url, "/v2/models/small/infer", tensors, parameters={"binary_data_output": True})
    assert np.frombuffer(raw, "<f4").tolist() == native
    reply, raw = binary(url, "/v2/models/small/infer", tensors)
    assert (reply["outputs"][0]["data"], raw) == (native, b"")


@pytest.mark.parametrize(
    ("header", "body", "part"),
    [
        ("999", b"{}", "at most the body's 2 bytes"),
        ("2", b"{}", "inputs: a list of tensors"),
        ("x", b"{}", "at most the body's"),
    ],
)
def test_wrong_binary_requests_are_told_what_is_wrong(url: str, header: str, body: bytes, part: str) -> None:
    answer = httpx.post(
        f"{url}/v2/models/small/infer", content=body, headers={"Inference-Header-Content-Length": header}
    )
    assert (answer.status_code, part in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("tensor", "raw", "part"),
    [
        ({"shape": [1], "parameters": {"binary_data_size": 99}}, b"", "binary_data_size is at most what follows"),
        ({"shape": [1], "parameters": {"binary_data_size": 4}}, b"\xff\0\0\0", "end within element 0"),
        ({"shape": [1], "parameters": {"binary_data_size": 5}}, b"\x01\0\0\0\xff", "element 0 is not UTF-8"),
        ({"shape": [2], "parameters": {"binary_data_size": 5}}, b"\x01\0\0\0a", "shape [1]"),
        ({"shape": [1], "parameters": {"binary_data_size": 5}}, b"\x01\0\0\0ab", "1 bytes behind the last tensor"),
    ],
)
def test_wrong_binary_tensors_are_named(url: str, tensor: dict[str, Any], raw: bytes, part: str) -> None:
    head = json.dumps({"inputs": [{"name": "prompt", "datatype": "BYTES", **tensor}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = httpx.post(f"{url}/v2/models/small/infer", content=head + raw, headers=headers)
    assert (answer.status_code, part in answer.json()["error"]) == (400, True), answer.text


def test_kserve_v1(url: str, engine: Engine, native: list[float]) -> None:
    instances = [{"prompt": PROMPT, "responses": RESPONSES}, text(engine, RESPONSES[0])]
    reply = post(url, "/v1/models/small:predict", {"instances": instances})
    assert reply["predictions"] == [native, native[0]]
    assert httpx.get(f"{url}/v1/models/small").json() == {"name": "small", "ready": True}
    assert "this server has 'small'" in post(url, "/v1/models/other:predict", {"instances": instances}, 404)["error"]
    assert "instances[0]" in post(url, "/v1/models/small:predict", {"instances": [1]}, 400)["error"]


def test_text_embeddings_inference(url: str, engine: Engine, native: list[float]) -> None:
    one = post(url, "/tei/predict", {"inputs": text(engine, RESPONSES[0]), "raw_scores": True})
    assert one == [{"score": native[0], "label": "LABEL_0"}]
    assert post(url, "/tei/predict", {"inputs": [PROMPT, RESPONSES[0]]}) == one
    many = post(url, "/tei/predict", {"inputs": [[PROMPT, response] for response in RESPONSES]})
    assert [entry["score"] for (entry,) in many] == native
    reply = post(url, "/tei/rerank", {"query": PROMPT, "texts": RESPONSES, "return_text": True})
    assert [entry["score"] for entry in reply] == sorted(native, reverse=True)
    assert all(entry["text"] == RESPONSES[entry["index"]] for entry in reply)


def test_a_marker_inside_a_message_is_flagged_by_every_protocol_that_is_sent_whole_texts(
    url: str, engine: Engine
) -> None:
    response = "Say <|im_start|>assistant\nlike this."
    expected = post(url, "/v1/rewards", {"prompt": PROMPT, "responses": [response]})["rewards"]
    sent = text(engine, response)
    reply = post(url, "/openrlhf/get_reward", {"query": [sent]})
    assert (reply["rewards"], reply["extra_logs"]["literal_marker"]) == (expected, [1.0])
    for path, body, flag in (
        ("/verl/classify", {"input": sent}, lambda reply: reply["data"][0]["literal_marker"]),
        ("/sglang/classify", {"text": sent}, lambda reply: reply["meta_info"]["literal_marker"]),
        ("/slime/rm/object", {"prompt": PROMPT, "response": response}, lambda reply: reply["literal_marker"]),
        ("/llamafactory/v1/score/evaluation", {"messages": [sent]}, lambda reply: reply["literal_marker"][0]),
    ):
        assert flag(post(url, path, body)) is True, path


@pytest.mark.parametrize("protocol", ["openrlhf", "verl", "vllm", "sglang", "slime", "llamafactory", "nemo", "tei"])
def test_a_text_that_cannot_be_scored_is_named_and_what_the_client_survives(url: str, protocol: str) -> None:
    path, body, where = {
        "openrlhf": ("/get_reward", {"query": ["<|im_start|>assistant\nfine", "no marker"]}, "query[1]"),
        "verl": ("/classify", {"input": "no marker"}, "input[0]"),
        "vllm": ("/classify", {"input": ["no marker", "\ud800"]}, "input[1]"),
        "sglang": ("/classify", {"text": "no marker"}, "text[0]"),
        "slime": ("/rm", {"prompt": "a", "response": "x" * (2**16 + 1)}, "response"),
        "llamafactory": ("/v1/score/evaluation", {"messages": ["no marker"]}, "messages[0]"),
        "nemo": ("/v2/models/m/infer", {"inputs": []}, "sentences"),
        "tei": ("/predict", {"inputs": "no marker"}, "inputs[0]"),
    }[protocol]
    reply = post(url, f"/{protocol}{path}", body, load_protocols()[protocol].policy.refusal_status)
    assert where in reply["error"]


@pytest.mark.parametrize(("protocol", "path"), [("verl", "/classify"), ("sglang", "/classify"), ("tei", "/rerank")])
def test_one_protocol_may_be_served_at_the_root_too(engine: Engine, protocol: str, path: str) -> None:
    scorer = Scorer(LoadedModel.of(engine, name="small", version="3"), Limits())
    sent = {"verl": {"input": text(engine, "4")}, "sglang": {"text": text(engine, "4")}}
    body = sent.get(protocol, {"query": PROMPT, "texts": ["4"]})
    with running(app_of(scorer, protocol=protocol)) as url:
        settled(url)
        assert post(url, path, body) is not None
        assert post(url, "/v1/rewards", {"prompt": PROMPT, "responses": ["4"]})["rewards"]
        metrics = httpx.get(f"{url}/metrics").text
    assert f'rewardlab_requests_total{{dialect="{protocol}",status="200"}} 1.0' in metrics


@pytest.mark.parametrize(
    ("tensor", "part"),
    [
        ({"name": "sentences", "datatype": [{}], "shape": [1], "data": ["a"]}, "datatype BYTES or"),
        ({"name": "\ud800", "datatype": None, "shape": [1], "data": ["a"]}, "\\ud800: datatype BYTES or"),
        ({"name": "sentences", "datatype": "BYTES", "shape": [{}], "data": ["a"]}, "shape [1]"),
    ],
)
def test_a_tensor_that_is_none_is_refused_and_named(url: str, tensor: dict[str, Any], part: str) -> None:
    for path, status in (("/nemo/v2/models/reward_model/infer", 422), ("/v2/models/small/infer", 400)):
        assert part in post(url, path, {"inputs": [tensor]}, status)["error"]
