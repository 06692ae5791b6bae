"""The Kubernetes API as a pod's service account sees it."""

import os
import ssl
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has its token, its namespace and the certificate of the API."""
_PATIENCE_SECONDS = 600.0
_PAUSE_SECONDS = 2.0


class Kubernetes:
    """Asks for objects of the pod's own namespace; an API that is away or busy is asked again for ten minutes.

    Use it as a context.
    """

    def __init__(self) -> None:
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
        if not host or not (ACCOUNT / "token").is_file():
            raise ValueError("several nodes train from a pod with a service account, and this is none: train on one")
        self.namespace = (ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
        context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        address = f"[{host}]" if ":" in host else host
        self._http = httpx.Client(base_url=f"https://{address}:{port}", verify=context, timeout=30.0, trust_env=False)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: dict[str, str] | None = None,
        allowed: tuple[int, ...] = (),
    ) -> httpx.Response:
        """Return the answer to a request; those with a status that is `allowed` are answers too.

        Raises:
            ValueError: the request is refused, or the API stays away; the message says what the API said.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            answer, trouble = self._once(method, path, body, query)
            if answer and (answer.is_success or answer.status_code in allowed):
                return answer
            if answer and answer.status_code < 500 and answer.status_code != 429:
                raise ValueError(f"Kubernetes refuses {method} {path}: {trouble}{_hint(answer)}")
            if time.monotonic() > deadline:
                raise ValueError(f"Kubernetes did not answer {method} {path} for {_PATIENCE_SECONDS:.0f} s: {trouble}")
            print(f"Kubernetes is asked again: {trouble}", file=sys.stderr)
            time.sleep(_PAUSE_SECONDS)

    def _once(
        self, method: str, path: str, body: Any, query: dict[str, str] | None
    ) -> tuple[httpx.Response | None, str]:
        """Return the answer, if any came, and what is wrong with it; tokens are exchanged while they are mounted."""
        token = (ACCOUNT / "token").read_text(encoding="utf-8").strip()
        try:
            headers = {"Authorization": f"Bearer {token}"}
            answer = self._http.request(method, path, json=body, params=query, headers=headers)
        except httpx.TransportError as error:
            return None, str(error) or type(error).__name__
        return answer, "" if answer.is_success else f"{answer.status_code} {_said(answer)}"


def _said(answer: httpx.Response) -> str:
    """Return the message of a Kubernetes Status, or the body's first characters."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]


def _hint(answer: httpx.Response) -> str:
    if answer.status_code == 403:
        return " (the pipeline's service account needs create, get and delete on trainjobs, get on pods and pods/log)"
    return " (is Kubeflow Trainer installed?)" if answer.status_code == 404 else ""
