"""What the server takes and gives, as OpenAPI: the native protocol in full, the others by the fields that are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardlab import __version__
from rewardlab.files import read_json
from serving.manners import MANNERS

_SCHEMAS = Path(__file__).parent.parent / "rewardlab" / "schemas"
_STRING: dict[str, Any] = {"type": "string"}
_STRINGS: dict[str, Any] = {"anyOf": [_STRING, {"type": "array", "items": _STRING, "minItems": 1}]}
_IDS: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_TEXTS: dict[str, Any] = {"anyOf": [*_STRINGS["anyOf"], _IDS, {"type": "array", "items": _IDS, "minItems": 1}]}
_LABELS: dict[str, Any] = {"type": "array"}
_ERROR: dict[str, Any] = {"type": "object", "required": ["error"], "properties": {"error": _STRING}}
_TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": _STRING,
        "datatype": {"enum": ["BYTES", "FP32", "INT32", "INT64"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "data": {"type": "array"},
    },
}
_TENSORS: dict[str, Any] = {"inputs": {"type": "array", "items": _TENSOR}, "id": _STRING}
_BODIES: dict[tuple[str, str], tuple[list[str], dict[str, Any]]] = {
    ("openrlhf", "/get_reward"): (["query"], {"query": _STRINGS, "prompts": _STRINGS, "labels": _LABELS}),
    ("verl", "/classify"): (["input"], {"input": _TEXTS, "model": _STRING, "use_activation": {"type": "boolean"}}),
    ("verl", "/v1/embeddings"): (["input"], {"input": _TEXTS, "model": _STRING}),
    ("vllm", "/classify"): (["input"], {"input": _TEXTS, "model": _STRING}),
    ("vllm", "/pooling"): (["input"], {"input": _TEXTS, "model": _STRING, "task": _STRING}),
    ("vllm", "/score"): (["text_1", "text_2"], {"text_1": _STRINGS, "text_2": _STRINGS}),
    ("vllm", "/rerank"): (
        ["query", "documents"],
        {"query": _STRING, "documents": _STRINGS, "top_n": {"type": "integer", "minimum": 0}},
    ),
    ("sglang", "/classify"): (["text"], {"text": _TEXTS}),
    ("sglang", "/v1/embeddings"): (["input"], {"input": _TEXTS}),
    ("sglang", "/v1/score"): (["query", "items"], {"query": _STRING, "items": _STRINGS}),
    ("slime", "/rm"): (["prompt", "response"], {"prompt": _STRING, "response": _STRING, "label": {}}),
    ("slime", "/rm/object"): (["prompt", "response"], {"prompt": _STRING, "response": _STRING, "label": {}}),
    ("llamafactory", "/v1/score/evaluation"): (["messages"], {"messages": _STRINGS, "model": _STRING}),
    ("nemo", "/v2/models/reward_model/infer"): (["inputs"], _TENSORS),
    ("tei", "/predict"): (["inputs"], {"inputs": {}, "raw_scores": {"type": "boolean"}}),
    ("tei", "/rerank"): (["query", "texts"], {"query": _STRING, "texts": _STRINGS}),
}


def openapi(name: str) -> dict[str, Any]:
    """Return the description for a server whose model has a name."""
    native = _operation("native", read_json(_SCHEMAS / "rewards_request.schema.json"))
    replies = [read_json(_SCHEMAS / f"rewards_{kind}.schema.json") for kind in ("response", "partial")]
    native["responses"]["200"] = _json("Rewards.", {"anyOf": replies})
    paths = {
        "/v1/rewards": {"post": native},
        f"/v2/models/{name}/infer": {"post": _operation("oip", _object(["inputs"], _TENSORS))},
        f"/v1/models/{name}:predict": {
            "post": _operation("kserve", _object(["instances"], {"instances": {"type": "array"}}))
        },
        **{
            f"/{dialect}{path}": {"post": _operation(dialect, _object(required, fields))}
            for (dialect, path), (required, fields) in _BODIES.items()
        },
        **{
            path: {"get": {"responses": {"200": {"description": "Well."}, "503": _json("Not.", {})}}}
            for path in _STATES
        },
    }
    return {"openapi": "3.1.0", "info": {"title": "rewardlab", "version": __version__}, "paths": paths}


_STATES = ("/health/live", "/health/ready", "/health", "/metrics", "/v2", "/v2/health/live", "/v2/health/ready")


def _object(required: list[str], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": dict(fields)}


def _operation(dialect: str, body: Mapping[str, Any]) -> dict[str, Any]:
    manners = MANNERS[dialect]
    refused = {"400": "Not JSON.", "401": "No known token.", "413": "Too large.", "504": "Too late."}
    refused |= {str(manners.refusal_status): "What cannot be scored, and why.", str(manners.full_status): "Full."}
    refused |= {"500": "A reward is not finite.", "503": "Not ready."}
    return {
        "tags": [dialect],
        "requestBody": {"required": True, "content": {"application/json": {"schema": dict(body)}}},
        "responses": {"200": _json("Rewards.", {}), **{code: _json(text, _ERROR) for code, text in refused.items()}},
    }


def _json(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": dict(schema)}}}
