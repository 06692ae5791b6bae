"""The promotion log through MLflow's REST API, for programs without mlflow, such as a server or a deployer."""

from typing import Any

import httpx

from rewardlab.promotion.entry import Entry
from rewardlab.promotion.log import log_name
from rewardlab.promotion.reading import ENTRY, PAGE

_API = "/api/2.0/mlflow"


class RestStore:
    """A `Store` on an MLflow server.

    Args:
        client: knows the server by its `base_url`, and brings credentials, proxies and time limits.

    Example:
        >>> with httpx.Client(base_url="http://127.0.0.1:5000") as client:  # doctest: +SKIP
        ...     head = read(RestStore(client), "reward-model").head("champion")
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def records(self, name: str) -> list[tuple[int, str]]:
        """Return number and text of every entry in the log of a registered model."""
        query = {"filter": f"name = '{log_name(name)}'", "max_results": PAGE, "order_by": "version_number ASC"}
        found: list[tuple[int, str]] = []
        while True:
            page = self._get("model-versions/search", query)
            for version in page.get("model_versions", []):
                tags = {tag["key"]: tag["value"] for tag in version.get("tags", [])}
                found.append((int(version["version"]), tags.get(ENTRY, "")))
            query["page_token"] = page.get("next_page_token")
            if not query["page_token"]:
                return found

    def append(self, name: str, entry: Entry) -> bool:
        """Write an entry whole and return true; false where it cannot be known whether it was written."""
        made = self._post("registered-models/create", {"name": log_name(name)})
        if made.status_code != 400 or made.json().get("error_code") != "RESOURCE_ALREADY_EXISTS":
            made.raise_for_status()
        body = {
            "name": log_name(name),
            "source": f"runs:/{entry.run}/reports",
            "run_id": entry.run,
            "tags": [{"key": ENTRY, "value": entry.to_json()}],
        }
        try:
            self._post("model-versions/create", body).raise_for_status()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                raise
            return False
        return True

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version that each alias of a registered model names."""
        model = self._get("registered-models/get", {"name": name})["registered_model"]
        return {each["alias"]: str(each["version"]) for each in model.get("aliases", [])}

    def point(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version."""
        self._post("registered-models/alias", {"name": name, "alias": alias, "version": version}).raise_for_status()

    def _get(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.get(f"{_API}/{path}", params=query).raise_for_status().json()
        return answer

    def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self._client.post(f"{_API}/{path}", json=body)
