"""Reach Kubeflow Pipelines, and say in the user's words what it refuses."""

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ENDPOINT, TOKEN = "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_TOKEN"
_SERVICE_ACCOUNT = "/var/run/secrets/kubeflow/pipelines/token"
_HEALTH = "apis/v2beta1/healthz"


def connect(host: str, namespace: str) -> Any:
    """Return a client of the server, with the token of `KF_PIPELINES_TOKEN` or of the pod's service account, if any.

    Raises:
        ValueError: no server answers there, or it refuses the token; the message says what to do.
    """
    from kfp.client import Client as KubeflowClient
    from kfp.client import ServiceAccountTokenVolumeCredentials

    host = (host or os.environ.get(ENDPOINT, "")).rstrip("/")
    if not host.startswith(("http://", "https://")):
        raise ValueError(f"which server? give --host https://HOST/pipeline, or set {ENDPOINT}; got {host!r}")
    token = os.environ.get(TOKEN, "")
    mounted = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", _SERVICE_ACCOUNT))
    by_account = not token and mounted.is_file()
    _check_server(host, mounted.read_text("utf-8") if by_account else token)
    how = {"credentials": ServiceAccountTokenVolumeCredentials()} if by_account else {"existing_token": token or None}
    with warnings.catch_warnings(action="ignore"):  # that it works with no server older than 2.0
        return KubeflowClient(host=host, namespace=namespace, **how)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what the server refuses into a message for the user.

    Raises:
        ValueError: the server refused a call.
    """
    from kfp_server_api import ApiException

    try:
        yield
    except ApiException as error:
        said = str(error.body or error.reason)[:300]
        raise ValueError(_refusal(error.status, said)) from error


class Plan:
    """Stands in for the server where nothing is to happen: prints each call that would change something."""

    def get_user_namespace(self) -> str:
        """Return no namespace: none is asked."""
        return ""

    def list_pipelines(self, **_: object) -> Any:
        """Return a page with a placeholder: the pipeline is there."""
        return SimpleNamespace(pipelines=[SimpleNamespace(pipeline_id="<id of the pipeline>")])

    def list_pipeline_versions(self, *_: object, **__: object) -> Any:
        """Return a page with nothing."""
        return SimpleNamespace(pipeline_versions=None, next_page_token=None)

    def list_recurring_runs(self, **_: object) -> Any:
        """Return a page with nothing."""
        return SimpleNamespace(recurring_runs=None, next_page_token=None)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """Return a call that prints itself and answers with placeholders."""

        def call(*positional: str, **named: object) -> Any:
            print(f"{method} {json.dumps([*positional, named] if positional else named, indent=2)}")
            return _Placeholders()

        return call


class _Placeholders:
    def __getattr__(self, name: str) -> str:
        return f"<{name}>"


def _check_server(host: str, token: str) -> None:
    """Ask for the server's health first: `kfp.Client` tries an absent one for half a minute."""
    import httpx

    headers = {"Authorization": f"Bearer {token.strip()}"} if token else {}
    try:
        answer = httpx.get(f"{host}/{_HEALTH}", headers=headers, timeout=10)
    except httpx.HTTPError as error:
        raise ValueError(f"no Kubeflow Pipelines server answers at {host}: {error}") from error
    if answer.status_code != 200:
        raise ValueError(f"{host}: {_refusal(answer.status_code, answer.text[:300])}")


def _refusal(status: int, said: str) -> str:
    if status in (401, 403):
        return f"no permission ({status}): put a token that may run pipelines into {TOKEN}; the server says {said!r}"
    if status == 404:
        return f"it is not there (404): is this the address of Kubeflow Pipelines? The server says {said!r}"
    return f"the Kubeflow Pipelines server refuses ({status}): {said!r}"
