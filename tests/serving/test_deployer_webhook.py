"""MLflow's webhook: what it signed wakes the deployer, what it did not is refused, and failing steps are told."""

import time

import httpx
import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from serving.deployer.webhook import FRESH_SECONDS, LARGEST_BYTES, Reconciler, app_of, is_signed
from tests.served import running, settled

SECRET, BODY = "a secret of the test", '{"entity": "model_version_alias", "action": "created"}'


def delivery(*, secret: str = SECRET, body: str = BODY, at: float | None = None) -> dict[str, str]:
    """Return the headers with which MLflow sends a delivery."""
    stamp = str(int(time.time() if at is None else at))
    signature = _generate_hmac_signature(secret, "id-1", stamp, body)
    return {"x-mlflow-delivery-id": "id-1", "x-mlflow-timestamp": stamp, "x-mlflow-signature": signature}


def steps_after(*deliveries: dict[str, str], body: str = BODY) -> tuple[int, list[int]]:
    """Return how many steps were taken, and the answers' status codes, when deliveries come between hourly looks."""
    taken: list[float] = []

    def step() -> str:
        taken.append(time.monotonic())
        return "nothing to do"

    with running(app_of(Reconciler(step, seconds=3600.0), SECRET)) as url, httpx.Client(base_url=url) as client:
        settled(url)
        codes = []
        for headers in deliveries:
            before = len(taken)
            codes.append(client.post("/webhook", content=body, headers=headers).status_code)
            for _ in range(50):
                if len(taken) > before:
                    break
                time.sleep(0.01)
        assert client.get("/health/ready").json() == {"ready": True, "reason": "nothing to do"}
    return len(taken), codes


def test_what_mlflow_signs_wakes_the_deployer_and_twice_does_no_harm() -> None:
    signed = delivery()
    steps, codes = steps_after(signed, signed)
    assert codes == [202, 202]
    assert 2 <= steps <= 3  # the first at the start; a waking during a step is not lost


@pytest.mark.parametrize(
    "headers",
    [
        delivery(secret="another secret"),  # pragma: allowlist secret
        delivery(body="{}"),
        delivery(at=time.time() - FRESH_SECONDS - 60),
        {**delivery(), "x-mlflow-delivery-id": "id-2"},
        {**delivery(), "x-mlflow-timestamp": "soon"},
        {**delivery(), "x-mlflow-signature": ""},
        {},
    ],
    ids=["other secret", "other body", "old", "other id", "no time", "no signature", "nothing"],
)
def test_a_forged_delivery_is_refused_and_wakes_nobody(headers: dict[str, str]) -> None:
    assert steps_after(headers) == (1, [401])


def test_a_delivery_is_as_large_as_one_of_mlflows() -> None:
    assert steps_after({}, body="x" * (LARGEST_BYTES + 1)) == (1, [413])


def test_the_signature_is_over_id_time_and_body() -> None:
    now = time.time()
    assert is_signed(SECRET, delivery(at=now), BODY.encode(), now=now + FRESH_SECONDS - 1)
    assert not is_signed(SECRET, delivery(at=now), BODY.encode(), now=now + FRESH_SECONDS + 2)


def test_a_step_that_fails_is_said_and_the_deployer_lives_on() -> None:
    def step() -> str:
        raise ValueError("the registry is away")

    with running(app_of(Reconciler(step, seconds=3600.0), SECRET)) as url, httpx.Client(base_url=url) as client:
        for _ in range(100):
            answer = client.get("/health/ready")
            if "registry" in answer.text:
                break
            time.sleep(0.01)
        assert (answer.status_code, answer.json()["reason"]) == (503, "ValueError: the registry is away")
        assert client.get("/health/live").status_code == 200
