"""The client of the Kubernetes API: what is asked again, what is an error, and what a pod brings."""

from contextlib import closing
from pathlib import Path

import httpx
import pytest

from rewardlab import kubernetes
from rewardlab.kubernetes import ConflictError, Kubernetes, UnavailableError
from tests.cluster.kubernetes import NAMESPACE, PODS, running


def api(*answers: httpx.Response | httpx.RequestError, patience: float = 0.0) -> tuple[Kubernetes, list[httpx.Request]]:
    """Return a client of an API that gives these answers one after the other, and what it was sent."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        this = answers[len(sent) - 1]
        if isinstance(this, httpx.RequestError):
            raise this
        return this

    client = httpx.Client(base_url="https://api", transport=httpx.MockTransport(answer))
    return Kubernetes(client, "n", patience_seconds=patience, hints={403: "ask an admin"}), sent


def refusal(status: int) -> httpx.Response:
    return httpx.Response(status, json={"message": f"no {status}"})


def test_a_request_is_what_was_asked_and_a_patch_is_a_merge_patch() -> None:
    client, sent = api(httpx.Response(200, json={"a": 1}), httpx.Response(201, json={}), httpx.Response(200, json={}))
    assert client.ask("GET", "/x", query={"q": "1"}).json() == {"a": 1}
    client.ask("POST", "/x", body={"b": 2})
    client.ask("PATCH", "/x/y", body={"c": None})
    assert [(request.method, request.url.raw_path, request.content) for request in sent] == [
        ("GET", b"/x?q=1", b""),
        ("POST", b"/x", b'{"b":2}'),
        ("PATCH", b"/x/y", b'{"c":null}'),
    ]
    kinds = [request.headers.get("content-type") for request in sent]
    assert kinds == [None, "application/json", "application/merge-patch+json"]


@pytest.mark.parametrize(
    "trouble",
    [httpx.ConnectError("gone"), httpx.DecodingError("bad gzip"), httpx.ReadTimeout(""), refusal(503), refusal(429)],
)
def test_an_api_that_is_unavailable_is_asked_again_as_long_as_there_is_patience(
    trouble: httpx.Response | httpx.RequestError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(kubernetes.time, "sleep", pauses.append)
    client, sent = api(trouble, trouble, httpx.Response(200, json={}), patience=60.0)
    assert client.ask("GET", "/x").is_success
    assert (len(sent), pauses) == (3, [2.0, 2.0])
    assert capsys.readouterr().err.count("Kubernetes did not answer GET /x: ") == 2
    client, sent = api(trouble)
    with pytest.raises(
        UnavailableError, match=r"^Kubernetes did not answer GET /x: (gone|bad gzip|ReadTimeout|503 no 503|429 no 429)$"
    ):
        client.ask("GET", "/x")
    assert len(sent) == 1


def test_a_refusal_is_an_error_at_once_unless_its_status_is_allowed() -> None:
    answers = refusal(403), refusal(404), refusal(409), refusal(404), httpx.Response(422, text="not JSON")
    client, _ = api(*answers, patience=60.0)
    with pytest.raises(ValueError, match=r"^Kubernetes refuses GET /x: 403 no 403 \(ask an admin\)$"):
        client.ask("GET", "/x")
    with pytest.raises(ValueError, match=r"^Kubernetes refuses GET /x: 404 no 404$"):
        client.ask("GET", "/x")
    with pytest.raises(ConflictError, match="409 no 409"):
        client.ask("POST", "/x", body={})
    assert client.ask("GET", "/x", allowed=(404,)).status_code == 404
    with pytest.raises(ValueError, match=r"422 not JSON$"):
        client.ask("GET", "/x")


def test_a_pod_brings_address_certificate_namespace_and_a_token_that_is_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "ACCOUNT", tmp_path / "account")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="from a pod with a service account, and this is none: stay at home"):
        Kubernetes.of_pod(remedy="stay at home")
    with running(tmp_path / "account") as state:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(state.port))
        query = {"labelSelector": "jobset.sigs.k8s.io/jobset-name=none"}
        with closing(Kubernetes.of_pod(remedy="")) as client:
            assert client.namespace == NAMESPACE
            assert client.ask("GET", PODS, query=query).json() == {"items": []}
            (tmp_path / "account" / "token").write_text("exchanged")
            with pytest.raises(ValueError, match="401 Unauthorized"):
                client.ask("GET", PODS, query=query)
        assert state.asked == [("GET", PODS)] * 2
