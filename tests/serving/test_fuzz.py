"""Generated requests, by schemathesis from the server's own description: whatever comes, no 500 and no hang."""

from pathlib import Path

import httpx
import pytest

from benchmarks.fuzz import fuzz
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from serving.app import app_of
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.scorer import Scorer
from tests.served import running, settled


@pytest.mark.parametrize("cases", [200, pytest.param(10_000, marks=pytest.mark.campaign)])
def test_no_generated_request_breaks_the_server(tiny_bundle: Path, cases: int) -> None:
    model = LoadedModel.of(Engine(Bundle.open(tiny_bundle), threads=1), name="small", version="3")
    scorer = Scorer(model, Limits(max_queue_seconds=600))
    with running(app_of(scorer)) as url:
        settled(url)
        assert fuzz(url, cases) > cases // 2
        settled(url)
        assert scorer.loop.outstanding == 0
        reply = httpx.post(f"{url}/v1/rewards", json={"prompt": "a", "responses": ["b"]})
        assert reply.status_code == 200
