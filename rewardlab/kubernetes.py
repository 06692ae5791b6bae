"""The Kubernetes API over httpx, as a pod's service account sees it."""

import os
import ssl
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has its token, its namespace and the certificate of the API."""
TIMEOUT_SECONDS = 30.0
_PAUSE_SECONDS = 2.0


class UnavailableError(ValueError):
    """The API cannot be reached, is busy, or fails: ask again later."""


class ConflictError(ValueError):
    """The object was created, or changed since it was read, by another: read it again."""


class Kubernetes:
    """A client for the objects of one namespace.

    Args:
        client: knows the API by its `base_url`, and brings credentials and time limits.
        namespace: where the objects are.
        patience_seconds: how long an API that is unavailable is asked again; by default it is asked once.
        hints: what to say in addition where a request is refused, by status.
    """

    def __init__(
        self,
        client: httpx.Client,
        namespace: str,
        *,
        patience_seconds: float = 0.0,
        hints: Mapping[int, str] | None = None,
    ) -> None:
        self.namespace = namespace
        self._client = client
        self._patience_seconds = patience_seconds
        self._hints = hints or {}

    @classmethod
    def of_pod(cls, *, remedy: str, patience_seconds: float = 0.0, hints: Mapping[int, str] | None = None) -> Self:
        """Return a client for the namespace of the pod that this process runs in.

        Args:
            remedy: what to do where this is no pod.
            patience_seconds: as above.
            hints: as above.

        Raises:
            ValueError: it is no pod, or one without a service account's token.
        """
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
        if not host or not (ACCOUNT / "token").is_file():
            raise ValueError(f"Kubernetes is asked from a pod with a service account, and this is none: {remedy}")
        client = httpx.Client(
            base_url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            auth=_with_token,
            verify=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")),
            timeout=TIMEOUT_SECONDS,
            trust_env=False,  # the API is in the cluster: no proxy leads to it
        )
        namespace = (ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
        return cls(client, namespace, patience_seconds=patience_seconds, hints=hints)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        allowed: tuple[int, ...] = (),
    ) -> httpx.Response:
        """Return the answer to a request, or one with a status that is `allowed`; the body of a PATCH is a merge patch.

        Raises:
            UnavailableError: the API stays unavailable for as long as it is asked again.
            ConflictError: another was faster.
            ValueError: the request is refused; the message says what the API said.
        """
        deadline = time.monotonic() + self._patience_seconds
        while True:
            try:
                return self._ask_once(method, path, body, query, allowed)
            except UnavailableError as error:
                if time.monotonic() >= deadline:
                    raise
                print(f"{error}; it is asked again", file=sys.stderr)
            time.sleep(_PAUSE_SECONDS)

    def _ask_once(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None, allowed: tuple[int, ...]
    ) -> httpx.Response:
        headers = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else None
        try:
            answer = self._client.request(method, path, json=body, params=query, headers=headers)
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            raise UnavailableError(f"Kubernetes did not answer {method} {path}: {reason}") from error
        status = answer.status_code
        if answer.is_success or status in allowed:
            return answer
        reason = f"{status} {_message(answer)}"
        if status >= 500 or status == 429:
            raise UnavailableError(f"Kubernetes did not answer {method} {path}: {reason}")
        if status == 409:
            raise ConflictError(f"Kubernetes reports a conflict for {method} {path}: {reason}")
        hint = f" ({self._hints[status]})" if status in self._hints else ""
        raise ValueError(f"Kubernetes refuses {method} {path}: {reason}{hint}")


def _with_token(request: httpx.Request) -> httpx.Request:
    """Add the service account's token, read for each request: the cluster replaces it every hour."""
    request.headers["Authorization"] = f"Bearer {(ACCOUNT / 'token').read_text(encoding='utf-8').strip()}"
    return request


def _message(answer: httpx.Response) -> str:
    """Return the message of a Kubernetes Status, or the body's first characters."""
    try:
        return str(answer.json()["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
