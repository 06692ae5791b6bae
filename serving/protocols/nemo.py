"""NeMo-Aligner's reward model server, which is PyTriton: sentences or tokens in, rewards out, as binary tensors."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.desk import Call, Desk, each_reward
from serving.limits import check_count, check_text
from serving.served import Item, Text
from serving.tensors import Inference, Tensor, read_inference

MOST_ROWS = 1024
_INPUTS = (
    {"name": "sentences", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
    {"name": "tokens", "data_type": "TYPE_INT64", "dims": [-1], "optional": True},
    {"name": "sequence_lengths", "data_type": "TYPE_INT64", "dims": [1], "optional": True},
)
_OUTPUTS = ({"name": "rewards", "data_type": "TYPE_FP32", "dims": [1]},)
_MODEL = "/v2/models/{name}"


def routes(desk: Desk) -> list[Route]:
    """Return the routes that PyTriton's client asks; the model goes by any name that the client has for it."""

    async def infer(call: Call) -> Response:
        inference = await read_inference(call.request, desk.worker.limits)
        scored = await call.unless_gone(call.score(_items(call, inference)))
        rewards = each_reward(scored, "sentences")
        head = {"model_name": call.request.path_params["name"], "model_version": "1"}
        return inference.reply(head, Tensor("rewards", "FP32", (len(rewards), 1), rewards))

    async def ready(request: Request) -> Response:  # noqa: ARG001
        return Response(status_code=503 if desk.worker.not_ready else 200)

    async def live(request: Request) -> Response:  # noqa: ARG001
        return Response(status_code=503 if desk.worker.loop.dead else 200)

    async def config(request: Request) -> JSONResponse:
        return JSONResponse(_config(request.path_params["name"]))

    async def index(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse([{"name": desk.worker.served.name, "version": "1", "state": "READY"}])

    states = [("/v2/health/live", live), ("/v2/health/ready", ready)]
    models = [(model + verb, state) for model in _models() for verb, state in (("/ready", ready), ("/config", config))]
    return [
        *(Route(desk.prefix + path, state) for path, state in states + models),
        Route(desk.prefix + "/v2/repository/index", index, methods=["POST"]),
        *(desk.route(model + "/infer", infer) for model in _models()),
    ]


def _models() -> tuple[str, str]:
    return _MODEL, _MODEL + "/versions/{version}"


def _config(name: str) -> dict[str, Any]:
    """Return the model's configuration in Triton's form."""
    return {
        "name": name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": MOST_ROWS,
        "input": _INPUTS,
        "output": _OUTPUTS,
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
    }


def _items(call: Call, inference: Inference) -> list[Item]:
    tensors = {tensor.name: tensor for tensor in inference.inputs}
    limits = call.desk.worker.limits
    if set(tensors) == {"sentences"} and tensors["sentences"].datatype == "BYTES":
        sentences = list(tensors["sentences"].data)
        check_count(len(sentences), limits)
        for index, sentence in enumerate(sentences):
            check_text(f"sentences[{index}]", sentence, limits)
        return [Text(sentence) for sentence in sentences]
    if set(tensors) == {"tokens", "sequence_lengths"}:
        rows = _rows(tensors["tokens"], tensors["sequence_lengths"])
        check_count(len(rows), limits)
        return [Text(row) for row in rows]
    raise ValueError(f"inputs: 'sentences', or 'tokens' and 'sequence_lengths', got {sorted(tensors)!r:.80}")


def _rows(tokens: Tensor, lengths: Tensor) -> list[list[int]]:
    """Return each row's ids without its padding."""
    if len(tokens.shape) != 2 or tokens.datatype == "BYTES" or len(lengths.data) != tokens.shape[0]:
        raise ValueError(f"tokens: shape [B, S], sequence_lengths: [B, 1], got {tokens.shape} and {lengths.shape}")
    width = tokens.shape[1]
    if wrong := [length for length in lengths.data if type(length) is not int or not 0 <= length <= width]:
        raise ValueError(f"sequence_lengths: in 0..{width}, got {wrong[0]!r:.80}")
    if not all(type(token) is int for token in tokens.data):
        raise ValueError("tokens: whole numbers")
    rows = [tokens.data[start : start + width] for start in range(0, len(tokens.data), width or 1)]
    return [list(row[:length]) for row, length in zip(rows, lengths.data, strict=True)]
