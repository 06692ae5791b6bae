"""The native protocol beyond its contract: probabilities, partial replies, streams, tokens, headers, metrics."""

import asyncio
import json
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.files import read_json
from serving.app import app_of
from serving.auth import Token, read_tokens
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.logs import Lines
from serving.scorer import Scorer
from tests.served import running, settled

SCHEMAS = Path(__file__).parents[2] / "rewardlab" / "schemas"
PROMPT = "What is 2 + 2?"


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine(Bundle.open(tiny_bundle), threads=1)


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    scorer = Scorer(
        LoadedModel.of(engine, name="small", version="3"), Limits(max_body_bytes=2**20, max_item_bytes=2**16)
    )
    with running(app_of(scorer)) as url:
        settled(url)
        yield url


def post(url: str, **values: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/rewards", json=values, timeout=30)


def test_the_reply_orders_responses_and_says_how_sure_that_is(url: str, engine: Engine) -> None:
    responses = ["four", "It is 5.", "", "4"]
    reply = post(url, prompt=PROMPT, responses=responses).json()
    falling = [reply["rewards"][index] for index in reply["order"]]
    assert falling == sorted(reply["rewards"], reverse=True)
    assert reply["best"] == reply["order"][0]
    for index, probability in enumerate(reply["beats_next"]):
        pair = (responses[reply["order"][index]], responses[reply["order"][index + 1]])
        assert probability == pytest.approx(engine.compare(PROMPT, *pair), abs=1e-6)
        assert 0.5 <= probability < 1.0
    assert len(reply["beats_next"]) == 3
    jsonschema.validate(reply, read_json(SCHEMAS / "rewards_response.schema.json"))
    assert reply["digest"] == engine.bundle.digest


def test_every_reply_names_model_and_request(url: str, engine: Engine) -> None:
    for headers, body in (({"X-Request-Id": "mine-1"}, {"prompt": "a", "responses": ["b"]}), ({}, {"prompt": 1})):
        answer = httpx.post(f"{url}/v1/rewards", json=body, headers=headers)
        assert answer.headers["X-Model"] == "small/3"
        assert answer.headers["X-Model-Digest"] == engine.bundle.digest
        assert answer.headers["X-Request-Id"] == headers.get("X-Request-Id", answer.headers["X-Request-Id"])
    evil = httpx.post(f"{url}/v1/rewards", json={}, headers={"X-Request-Id": "a b\tc"})
    assert "a b" not in evil.headers["X-Request-Id"]


def test_a_partial_reply_scores_the_rest_and_names_each_bad_response(url: str) -> None:
    responses = ["fine", "\ud800", "x" * (2**16 + 1), "", "also fine"]
    body = json.dumps({"prompt": PROMPT, "responses": responses, "partial": True})
    reply = httpx.post(f"{url}/v1/rewards", content=body, timeout=30).json()
    assert [reward is None for reward in reply["rewards"]] == [False, True, True, False, False]
    told = {entry["index"]: entry["error"] for entry in reply["errors"]}
    assert list(told) == [1, 2]
    assert "lone surrogate" in told[1]
    assert "at most 65536 bytes, got 65537" in told[2]
    jsonschema.validate(reply, read_json(SCHEMAS / "rewards_partial.schema.json"))
    alone = post(url, prompt=PROMPT, responses=["fine", "", "also fine"]).json()
    assert [reward for reward in reply["rewards"] if reward is not None] == alone["rewards"]


def test_without_partial_one_bad_response_refuses_the_request_and_all_are_named(url: str) -> None:
    body = json.dumps({"prompt": PROMPT, "responses": ["\ud800", "fine", None]})
    answer = httpx.post(f"{url}/v1/rewards", content=body)
    assert answer.status_code == 422
    assert "responses[0]" in answer.json()["error"]
    assert "responses[2]" in answer.json()["error"]
    long = post(url, prompt=[{"role": "user", "content": "x" * 2**15}] * 3, responses=["a"])
    assert (long.status_code, "prompt: at most 65536 bytes" in long.json()["error"]) == (422, True)


def stream(url: str, lines: list[Any]) -> list[Any]:
    body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    headers = {"Content-Type": "application/x-ndjson"}
    answer = httpx.post(f"{url}/v1/rewards", content=body, headers=headers, timeout=60)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_stream_is_answered_line_by_line_in_its_order(url: str) -> None:
    good = [{"id": n, "prompt": f"{n}?", "responses": ["a" * (n % 40), "b"]} for n in range(600)]
    bad = [b"{", b"[1]", {"id": "no responses", "prompt": "a"}, b'{"id": 1e999}', b""]
    replies = stream(url, [*good[:300], *bad, *good[300:]])
    assert [reply["id"] for reply in replies[:300]] == list(range(300))
    assert [reply["rewards"] for reply in replies[300:305]] == [None] * 5
    assert replies[302]["id"] == "no responses"
    assert all(reply["error"] for reply in replies[300:305])
    assert replies[305]["rewards"] == post(url, prompt="300?", responses=good[300]["responses"]).json()["rewards"]
    assert len(replies) == 605


def test_a_stream_answers_before_it_is_whole(url: str) -> None:
    head = b"POST /v1/rewards HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked"
    lines = [b'{"id": %d, "prompt": "a", "responses": ["b"]}\n' % number for number in (1, 2)]

    async def work() -> None:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(head + b"\r\n\r\n")
            for number, line in enumerate(lines, start=1):
                writer.write(b"%x\r\n%b\r\n" % (len(line), line))
                await reader.readuntil(b'"id": %d, "rewards": [' % number)
            writer.write(b"0\r\n\r\n")
            await reader.readuntil(b"0\r\n\r\n")
            writer.close()
            await writer.wait_closed()

    asyncio.run(work())


def measured(url: str) -> dict[str, str]:
    text = httpx.get(f"{url}/metrics").text
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_a_prefix_hit_is_a_prompt_that_was_read_before(url: str, engine: Engine) -> None:
    def asked(*responses: str) -> tuple[float, float]:
        post(url, prompt="Has nobody asked this?", responses=responses)
        lines = measured(url)
        return float(lines["rewardlab_prefix_hits_total"]), float(lines["rewardlab_prefix_misses_total"])

    post(url, prompt="Another one", responses=["a"])
    before = asked("a", "b", "c")
    assert asked("d") == (before[0] + 1, before[1])
    assert asked("a", "e") == (before[0] + 2, before[1])
    assert before == (engine.num_prompt_hits - 2, engine.num_prompt_misses)


def test_metrics_tell_what_the_engine_read_computed_and_took(url: str, engine: Engine) -> None:
    def counted() -> list[float]:
        lines = measured(url)
        names = ("engine_tokens", "engine_padded_tokens", "engine_cpu_seconds")
        return [float(lines[f"rewardlab_{name}_total"]) for name in names]

    before = counted()
    prompt, responses = "Who has asked this before?", ["a", "a b c d e", "a" * 40]
    num_tokens = post(url, prompt=prompt, responses=responses).json()["num_tokens"]
    tokens, padded, cpu = (late - early for early, late in zip(before, counted(), strict=True))
    prompt_tokens = num_tokens[0] - 2  # the response's one letter and the end of its turn
    assert tokens == sum(num_tokens) - 2 * prompt_tokens  # the prompt is read once
    assert tokens < padded < tokens + 64
    assert padded % 8 == 0
    assert cpu > 0
    assert float(measured(url)["rewardlab_tokenizing_cpu_seconds_total"]) > 0
    assert counted()[:2] == [engine.num_tokens, engine.num_padded_tokens]


def test_metrics_count_requests_tokens_rewards_and_truncations(url: str) -> None:
    post(url, prompt="long " * 3000, responses=["a"])
    lines = measured(url)
    assert float(lines['rewardlab_requests_total{dialect="native",status="200"}']) > 0
    assert float(lines["rewardlab_tokens_total"]) > 0
    assert float(lines["rewardlab_truncated_responses_total"]) > 0
    assert float(lines["rewardlab_reward_count"]) > 0
    assert math.isfinite(float(lines["rewardlab_queue_seconds"]))
    assert float(lines["rewardlab_drift"]) > 0  # the last rewards are of a few texts, the reference of many
    (model,) = [line for line in lines if line.startswith("rewardlab_model{")]
    assert re.fullmatch(r'rewardlab_model\{digest="[0-9a-f]{64}",model="small/3"\}', model)


@pytest.fixture(scope="module")
def guarded(engine: Engine) -> Iterator[str]:
    scorer = Scorer(LoadedModel.of(engine, name="small", version="3"), Limits())
    tokens = {"trainer": Token(token="let me in"), "other": Token(token="me too", max_requests=1)}
    with running(app_of(scorer, tokens=tokens)) as url:
        settled(url)
        yield url


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer let me"}, 401),
        ({"Authorization": "Basic let me in"}, 401),
        ({"Authorization": "Bearer let me in"}, 200),
        ({"Authorization": "bearer  me too"}, 200),
    ],
)
def test_only_holders_of_a_token_may_ask(guarded: str, header: dict[str, str], status: int) -> None:
    body = {"prompt": "a", "responses": ["b"]}
    answer = httpx.post(f"{guarded}/v1/rewards", json=body, headers=header)
    assert answer.status_code == status
    assert status == 200 or answer.headers["WWW-Authenticate"] == "Bearer"
    assert httpx.get(f"{guarded}/health/ready").status_code == 200


def test_tokens_come_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    text = json.dumps({"a": {"token": "env:SECRET"}, "b": {"token": "plain", "max_requests": 3}})
    (tmp_path / "tokens.json").write_text(text)
    monkeypatch.setenv("TOKENS", text)
    for source in (str(tmp_path / "tokens.json"), "env:TOKENS"):
        tokens = read_tokens(source)
        assert (tokens["a"].token, tokens["b"].max_requests) == ("s3cret", 3)
    for wrong in ('{"a": {"token": "s3cret", "may": 1}}', "{}", "[]", '{"a": "s3cret"}'):
        monkeypatch.setenv("TOKENS", wrong)
        with pytest.raises(ValueError, match="tokens of env:TOKENS") as told:
            read_tokens("env:TOKENS")
        assert "s3cret" not in str(told.value)
    with pytest.raises(ValueError, match="MISSING is not set"):
        read_tokens("env:MISSING")


def test_a_log_line_is_json_and_an_exception_gives_away_no_text() -> None:
    try:
        raise RuntimeError("a secret text")
    except RuntimeError as error:
        about = (type(error), error, error.__traceback__)
    record = logging.LogRecord("serving", logging.ERROR, "file", 1, "failed: %s", ("RuntimeError",), about)
    record.facts = {"request_id": "7"}
    line = json.loads(Lines().format(record))
    assert (line["level"], line["message"], line["request_id"]) == ("error", "failed: RuntimeError", "7")
    assert "secret" not in json.dumps(line["trace"])
