"""What the deployer asks of Kubernetes: one InferenceService, its pods, and events."""

from datetime import UTC, datetime

from rewardlab.kubernetes import Kubernetes
from serving.deployer.service import GROUP, PLURAL, Object


class Kube(Kubernetes):
    """The InferenceServices of one namespace."""

    def get(self, name: str) -> Object | None:
        """Return an InferenceService; None where there is none."""
        answer = self.ask("GET", f"{self._services}/{name}", allowed=(404,))
        if answer.status_code == 404:
            return None
        service: Object = answer.json()
        return service

    def create(self, service: Object) -> Object:
        """Create an InferenceService.

        Raises:
            ConflictError: there is one of this name.
        """
        created: Object = self.ask("POST", self._services, body=service).json()
        return created

    def patch(self, name: str, patch: Object) -> None:
        """Change an InferenceService by a merge patch.

        Raises:
            ConflictError: it was changed since it was read.
        """
        self.ask("PATCH", f"{self._services}/{name}", body=patch)

    def pods(self, service: str) -> list[Object]:
        """Return the pods of an InferenceService that have not been told to end."""
        query = {"labelSelector": f"serving.kserve.io/inferenceservice={service}"}
        pods = self.ask("GET", f"/api/v1/namespaces/{self.namespace}/pods", query=query).json()["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

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
        self.ask("POST", f"/api/v1/namespaces/{self.namespace}/events", body=event)

    @property
    def _services(self) -> str:
        return f"/apis/{GROUP}/namespaces/{self.namespace}/{PLURAL}"
