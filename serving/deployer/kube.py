"""The Kubernetes API, as far as the deployer needs it: one InferenceService, its pods, and events."""

from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx

from serving.deployer.service import GROUP, PLURAL, Object

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 10.0


class ConflictError(ValueError):
    """The object was changed, or made, by another since it was read: read it again."""


class Account(httpx.Auth):
    """The service account's token, read for each request: the cluster replaces it every hour."""

    def __init__(self, token: Path) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the token to a request."""
        request.headers["Authorization"] = f"Bearer {self._token.read_text(encoding='utf-8').strip()}"
        yield request


class Kube:
    """The objects of one namespace.

    Args:
        client: knows the API server by its `base_url`, and brings credentials and time limits.
        namespace: where the objects are.
    """

    def __init__(self, client: httpx.Client, namespace: str) -> None:
        self._client = client
        self.namespace = namespace

    @classmethod
    def of_pod(cls, environment: Mapping[str, str]) -> "Kube":
        """Return the API server of the cluster that this process is a pod of.

        Raises:
            ValueError: it is no pod, or one without a service account's token.
        """
        host, port = (environment.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
        if not host or not (_ACCOUNT / "token").is_file():
            raise ValueError("the deployer runs in a pod with a service account, see deploy/base/deployer")
        client = httpx.Client(
            base_url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            auth=Account(_ACCOUNT / "token"),
            verify=str(_ACCOUNT / "ca.crt"),
            timeout=TIMEOUT_SECONDS,
        )
        return cls(client, (_ACCOUNT / "namespace").read_text(encoding="utf-8").strip())

    def get(self, name: str) -> Object | None:
        """Return an InferenceService; None where there is none."""
        answer = self._client.get(f"{self._path}/{name}")
        return None if answer.status_code == 404 else _read(answer)

    def create(self, made: Object) -> Object:
        """Make an InferenceService.

        Raises:
            ConflictError: there is one of this name.
        """
        return _read(self._client.post(self._path, json=made))

    def patch(self, name: str, patch: Object) -> Object:
        """Change an InferenceService by a merge patch.

        Raises:
            ConflictError: it was changed since it was read.
        """
        head = {"content-type": "application/merge-patch+json"}
        return _read(self._client.patch(f"{self._path}/{name}", json=patch, headers=head))

    def pods(self, service: str) -> list[Object]:
        """Return the pods of an InferenceService that have not been told to end."""
        selector = {"labelSelector": f"serving.kserve.io/inferenceservice={service}"}
        found = _read(self._client.get(f"/api/v1/namespaces/{self.namespace}/pods", params=selector))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def tell(self, about: Object, reason: str, message: str, *, warning: bool) -> None:
        """Write an event on an InferenceService, which `kubectl describe` shows."""
        meta, now = about["metadata"], datetime.now(UTC)
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta['name']}.", "namespace": self.namespace},
            "involvedObject": {
                "apiVersion": GROUP,
                "kind": "InferenceService",
                "name": meta["name"],
                "namespace": self.namespace,
                "uid": meta.get("uid", ""),
            },
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "source": {"component": "rewardlab-deployer"},
            "firstTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "lastTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "count": 1,
        }
        _read(self._client.post(f"/api/v1/namespaces/{self.namespace}/events", json=event))

    @property
    def _path(self) -> str:
        return f"/apis/{GROUP}/namespaces/{self.namespace}/{PLURAL}"


def _read(answer: httpx.Response) -> Object:
    if answer.status_code == 409:
        raise ConflictError(f"another was faster: {answer.json().get('message', '')[:300]}")
    if answer.is_error:
        raise ValueError(f"the API server answers {answer.status_code}: {answer.text[:300]}")
    read: Object = answer.json()
    return read
