"""NeMo-Aligner's reward model server, which is PyTriton: sentences or tokens in, rewards out, as binary tensors."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.admission import OverloadPolicy
from serving.limits import check_count, check_text
from serving.loaded_model import Item, Text
from serving.protocol import Endpoint, Protocol, RequestContext, StatusRoute
from serving.scorer import Scorer, each_reward
from serving.tensors import INFERENCE, Inference, Tensor, read_inference

_INPUTS = (
    {"name": "sentences", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
    {"name": "tokens", "data_type": "TYPE_INT64", "dims": [-1], "optional": True},
    {"name": "sequence_lengths", "data_type": "TYPE_INT64", "dims": [1], "optional": True},
)
_OUTPUTS = ({"name": "rewards", "data_type": "TYPE_FP32", "dims": [1]},)
_MODEL = "/v2/models/{name}"  # by any name that the client has for it
_MODELS = (_MODEL, _MODEL + "/versions/{version}")


async def infer(context: RequestContext) -> Response:
    """Return the reward of each sentence, or of each row of tokens."""
    inference = await read_inference(context.request, context.limits)
    scored = await context.unless_gone(context.score(_items(context, inference)))
    rewards = each_reward(scored, "sentences")
    head = {"model_name": context.request.path_params["name"], "model_version": "1"}
    return inference.reply(head, Tensor("rewards", "FP32", (len(rewards), 1), rewards))


async def ready(request: Request, scorer: Scorer) -> Response:  # noqa: ARG001
    """Say by the status whether there are rewards."""
    return Response(status_code=503 if scorer.not_ready else 200)


async def live(request: Request, scorer: Scorer) -> Response:  # noqa: ARG001
    """Say by the status whether the engine's threads work."""
    return Response(status_code=503 if scorer.loop.dead else 200)


async def config(request: Request, scorer: Scorer) -> Response:
    """Return the model's configuration in Triton's form."""
    values = {
        "name": request.path_params["name"],
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": scorer.limits.max_responses,
        "input": _INPUTS,
        "output": _OUTPUTS,
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
    }
    return JSONResponse(values)


async def index(request: Request, scorer: Scorer) -> Response:  # noqa: ARG001
    """List the one model."""
    return JSONResponse([{"name": scorer.model.name, "version": "1", "state": "READY"}])


def _items(context: RequestContext, inference: Inference) -> list[Item]:
    tensors = {tensor.name: tensor for tensor in inference.inputs}
    limits = context.limits
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


_READY = tuple(StatusRoute(model + "/ready", ready) for model in _MODELS)
_CONFIG = tuple(StatusRoute(model + "/config", config) for model in _MODELS)

PROTOCOL = Protocol(
    name="nemo",
    policy=OverloadPolicy(
        hold_seconds=280,
        deadline_seconds=300,
        why="pytriton's client waits and never asks again: an error ends the training",
    ),
    endpoints=(
        Endpoint(_MODEL + "/infer", infer, body=INFERENCE, described_as="/v2/models/reward_model/infer"),
        Endpoint(_MODEL + "/versions/{version}/infer", infer),
    ),
    status_routes=(
        StatusRoute("/v2/health/live", live),
        StatusRoute("/v2/health/ready", ready),
        *_READY,
        *_CONFIG,
        StatusRoute("/v2/repository/index", index, method="POST"),
    ),
)
