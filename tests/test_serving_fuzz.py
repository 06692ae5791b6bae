"""Generated requests, by schemathesis from the server's own description: whatever comes, no 500 and no hang."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from serving.app import app_of
from serving.limits import Limits
from serving.served import Served
from serving.work import Worker
from tests.served import running, settled


def fuzz(url: str, cases: int) -> int:
    """Send that many generated requests, right and wrong ones, over all operations; return how many were sent."""
    schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/openapi.json").json())
    operations = [result.ok() for result in schema.get_all_operations()]
    sent = 0
    for operation in operations:
        for mode in schemathesis.GenerationMode:
            strategy = operation.as_strategy(generation_mode=mode)
            sent += _send(url, strategy, cases // (2 * len(operations)))
    return sent


def _send(url: str, strategy: Any, cases: int) -> int:
    from hypothesis import given
    from hypothesis.errors import Unsatisfiable

    count = 0

    @settings(
        max_examples=max(cases, 1),
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def send(case: Any) -> None:
        nonlocal count
        count += 1
        answer = case.call(base_url=url, timeout=60)
        check(answer)

    try:
        send()
    except Unsatisfiable:  # nothing is wrong for an operation that takes anything
        return 0
    return count


def check(answer: Any) -> None:
    assert answer.status_code < 500, (answer.status_code, answer.text, answer.request.body)
    if answer.headers.get("content-type") == ["application/json"]:
        answer.json()


@pytest.mark.parametrize("cases", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_generated_request_breaks_the_server(tiny_bundle: Path, cases: int) -> None:
    served = Served.of(Engine(Bundle.open(tiny_bundle), threads=1), name="small", version="3")
    worker = Worker(served, Limits(max_queue_seconds=600))
    with running(app_of(worker)) as url:
        settled(url)
        assert fuzz(url, cases) > cases // 2
        settled(url)
        assert worker.loop.outstanding == 0
        reply = httpx.post(f"{url}/v1/rewards", json={"prompt": "a", "responses": ["b"]})
        assert reply.status_code == 200
