"""The server's description as OpenAPI: the native protocol in full, the others by the fields that are read."""

from collections.abc import Iterable, Mapping

from rewardlab import __version__
from serving.protocol import Endpoint, Protocol

_HEALTH = ("/health/live", "/health/ready", "/health", "/metrics")


def openapi(model: str, protocols: Iterable[Protocol]) -> Mapping[str, object]:
    """Return the description of a server for the name of its model and the protocols that it serves."""
    paths: dict[str, object] = {path: _status() for path in _HEALTH}
    for protocol in protocols:
        prefix = "" if protocol.at_root else f"/{protocol.name}"
        for endpoint in protocol.endpoints:
            if endpoint.body is not None:
                path = endpoint.described_as or endpoint.path.replace("{name}", model)
                paths[prefix + path] = {"post": _operation(protocol, endpoint, endpoint.body)}
        for route in protocol.status_routes:
            if route.described:
                paths[prefix + route.path] = _status()
    return {"openapi": "3.1.0", "info": {"title": "rewardlab", "version": __version__}, "paths": paths}


def _status() -> Mapping[str, object]:
    return {"get": {"responses": {"200": {"description": "Well."}, "503": _json("Not.", {})}}}


def _operation(protocol: Protocol, endpoint: Endpoint, body: Mapping[str, object]) -> Mapping[str, object]:
    policy = protocol.policy
    refused = {"400": "Not JSON.", "401": "No known token.", "413": "Too large.", "504": "Too late."}
    refused |= {str(policy.refusal_status): "What cannot be scored, and why.", str(policy.full_status): "Full."}
    refused |= {"500": "A reward is not finite.", "503": "Not ready."}
    errors = {code: _json(text, protocol.error_form.schema) for code, text in refused.items()}
    return {
        "tags": [protocol.name],
        "requestBody": {"required": True, "content": {"application/json": {"schema": dict(body)}}},
        "responses": {"200": _json("Rewards.", endpoint.reply_schema), **errors},
    }


def _json(text: str, schema: Mapping[str, object]) -> Mapping[str, object]:
    return {"description": text, "content": {"application/json": {"schema": dict(schema)}}}
