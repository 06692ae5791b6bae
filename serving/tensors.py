"""Tensors of the Open Inference Protocol v2, as JSON and in its binary form, which Triton's clients speak."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rewardlab.text import utf8
from serving.fields import STRING, object_of
from serving.limits import Limits, parse_object, read_body

HEADER = "inference-header-content-length"
_NUMBERS: dict[str, np.dtype[Any]] = {"INT64": np.dtype("<i8"), "INT32": np.dtype("<i4"), "FP32": np.dtype("<f4")}

_TENSOR: Mapping[str, object] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": STRING,
        "datatype": {"enum": ["BYTES", "FP32", "INT32", "INT64"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "data": {"type": "array"},
    },
}
INFERENCE = object_of(["inputs"], inputs={"type": "array", "items": _TENSOR}, id=STRING)
"""JSON schema of an inference request."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's elements in row-major order: strings for BYTES, else numbers."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Inference:
    """A request: its `id`, its tensors, and whether an output is wanted as bytes."""

    id: str | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    binary: bool

    def reply(self, head: Mapping[str, object], output: Tensor) -> Response:
        """Return the reply with one FP32 output, in the form that was asked for."""
        about: dict[str, object] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        start = {**head, **({"id": self.id} if self.id is not None else {})}
        if not self.binary:
            return JSONResponse({**start, "outputs": [{**about, "data": list(output.data)}]})
        raw = np.asarray(output.data, dtype="<f4").tobytes()
        about["parameters"] = {"binary_data_size": len(raw)}
        text = json.dumps({**start, "outputs": [about]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        return Response(text + raw, headers=headers, media_type="application/octet-stream")


async def read_inference(request: Request, limits: Limits) -> Inference:
    """Return an inference request.

    Raises:
        HTTPException: the body is too large or not JSON.
        ValueError: a tensor does not hold what it says; the message names it.
    """
    body = await read_body(request, limits.max_body_bytes)
    length = request.headers.get(HEADER)
    if length is not None and not (length.isdecimal() and int(length) <= len(body)):
        raise HTTPException(400, f"{HEADER}: at most the body's {len(body)} bytes, got {length!r:.40}")
    cut = len(body) if length is None else int(length)
    values = parse_object(body[:cut], limits)
    raw = memoryview(body)[cut:]
    inputs = []
    for entry in _entries(values, "inputs"):
        size = _parameters(entry).get("binary_data_size")
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(raw):
                raise ValueError(
                    f"{entry.get('name')!r:.80}: binary_data_size is at most what follows, got {size!r:.40}"
                )
            tensor, raw = _tensor(entry, bytes(raw[:size])), raw[size:]
        else:
            tensor = _tensor(entry, None)
        inputs.append(tensor)
    if len(raw):
        raise ValueError(f"{len(raw)} bytes behind the last tensor belong to none")
    return Inference(_id(values), tuple(inputs), *_wanted(values))


def _wanted(values: Mapping[str, object]) -> tuple[tuple[str, ...], bool]:
    binary = bool(_parameters(values).get("binary_data_output", False))
    outputs = _entries(values, "outputs") if "outputs" in values else []
    for entry in outputs:
        binary = bool(_parameters(entry).get("binary_data", binary))
    return tuple(str(entry.get("name")) for entry in outputs), binary


def _id(values: Mapping[str, object]) -> str | None:
    if values.get("id") is None:
        return None
    if not isinstance(values["id"], str):
        raise ValueError(f"id: a string of valid Unicode, got {values['id']!r:.80}")
    utf8("id", values["id"])
    return str(values["id"])


def _entries(values: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    entries = values.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{key}: a list of tensors, got {entries!r:.80}")
    return entries


def _parameters(entry: Mapping[str, object]) -> Mapping[str, object]:
    parameters = entry.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _tensor(entry: Mapping[str, object], raw: bytes | None) -> Tensor:
    name, datatype = entry.get("name"), entry.get("datatype")
    if not isinstance(name, str):
        raise ValueError(f"inputs: a tensor has a name, got {name!r:.80}")
    if datatype not in ("BYTES", *_NUMBERS):
        raise ValueError(f"{name}: datatype BYTES or {', '.join(_NUMBERS)}, got {datatype!r:.80}")

    data = _flat(entry.get("data"), name) if raw is None else _unpacked(name, datatype, raw)
    if datatype == "BYTES" and not all(isinstance(element, str) for element in data):
        raise ValueError(f"{name}: data is a list of strings, got {data!r:.80}")
    if datatype != "BYTES" and not all(type(element) in (int, float) for element in data):
        raise ValueError(f"{name}: datatype BYTES if its data are no numbers, got {datatype!r:.80}")

    shape = entry.get("shape")
    if not _holds(shape, len(data)):
        raise ValueError(f"{name}: shape [{len(data)}], as its data has {len(data)} elements, got {shape!r:.80}")
    return Tensor(name, str(datatype), tuple(shape), data)


def _holds(shape: object, num_elements: int) -> TypeGuard[list[int]]:
    """Say whether a shape is one, of a tensor with so many elements."""
    if not isinstance(shape, list) or not shape:
        return False
    if not all(type(size) is int and size >= 0 for size in shape):
        return False
    return int(np.prod(shape, dtype=object)) == num_elements  # integers of Python do not overflow


def _flat(data: Any, name: str) -> list[Any]:
    """Return JSON data as one list; the protocol allows it to be nested as the shape is."""
    if not isinstance(data, list):
        raise ValueError(f"{name}: data is a list of strings, got {data!r:.80}")
    flat: list[Any] = data
    while flat and all(isinstance(row, list) for row in flat):
        flat = [element for row in flat for element in row]
    return flat


def _unpacked(name: str, datatype: str, raw: bytes) -> list[Any]:
    """Return binary data: numbers, or strings each behind its length in 4 bytes, all little-endian."""
    if datatype != "BYTES":
        kind = _NUMBERS[datatype]
        if len(raw) % kind.itemsize:
            raise ValueError(f"{name}: {len(raw)} bytes are no whole number of {datatype}")
        return list(np.frombuffer(raw, dtype=kind).tolist())
    texts: list[str] = []
    at = 0
    while at < len(raw):
        (length,) = struct.unpack_from("<I", raw, at) if at + 4 <= len(raw) else (len(raw),)
        if at + 4 + length > len(raw):
            raise ValueError(f"{name}: the binary data end within element {len(texts)}")
        try:
            texts.append(raw[at + 4 : at + 4 + length].decode())
        except UnicodeDecodeError as error:
            raise ValueError(f"{name}: element {len(texts)} is not UTF-8: {error.reason}") from error
        at += 4 + length
    return texts
