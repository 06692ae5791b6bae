"""Open Inference Protocol v2: tensors `prompt` and `responses` in, `rewards` out; binary tensors too."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rewardlab import __version__
from rewardlab.groups import messages
from serving.admission import OverloadPolicy
from serving.limits import Limits, check_texts
from serving.loaded_model import Group, LoadedModel
from serving.protocol import Endpoint, Protocol, RequestContext, StatusRoute
from serving.scorer import Scorer, rewards
from serving.tensors import INFERENCE, Tensor, read_inference

INPUTS = (
    {"name": "prompt", "datatype": "BYTES", "shape": [1]},
    {"name": "responses", "datatype": "BYTES", "shape": [-1]},
)
OUTPUTS = ({"name": "rewards", "datatype": "FP32", "shape": [-1]},)
EXTENSIONS = ["binary_tensor_data"]
GATEWAYS = OverloadPolicy(
    hold_seconds=0,
    deadline_seconds=60,
    refusal_status=400,
    why="gateways ask another replica after 503",
)
_MODEL = "/v2/models/{name}"
_MODEL_VERSION = _MODEL + "/versions/{version}"


async def infer(context: RequestContext) -> Response:
    """Return the rewards of the responses to one prompt."""
    model = check_model(context.request, context.scorer)
    inference = await read_inference(context.request, context.limits)
    group = parse(inference.inputs, inference.outputs, context.limits)
    (scored,) = await context.unless_gone(context.score([group]))
    values = rewards(scored)
    head = {"model_name": model.name, "model_version": scored.model.version}
    return inference.reply(head, Tensor("rewards", "FP32", (len(values),), values))


async def server(request: Request, scorer: Scorer) -> Response:  # noqa: ARG001
    """Describe the server."""
    return JSONResponse({"name": "rewardlab", "version": __version__, "extensions": EXTENSIONS})


async def live(request: Request, scorer: Scorer) -> Response:  # noqa: ARG001
    """Say that the server is there."""
    return JSONResponse({"live": True, "ready": scorer.not_ready is None})


async def ready(request: Request, scorer: Scorer) -> Response:  # noqa: ARG001
    """Say whether there are rewards."""
    return _ready(scorer, {"live": True})


async def models(request: Request, scorer: Scorer) -> Response:  # noqa: ARG001
    """List the one model."""
    return JSONResponse({"models": [scorer.model.name]})


async def metadata(request: Request, scorer: Scorer) -> Response:
    """Describe the model: its versions and its tensors."""
    model = check_model(request, scorer)
    values = {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx",
        "inputs": INPUTS,
        "outputs": OUTPUTS,
    }
    return JSONResponse(values)


async def model_ready(request: Request, scorer: Scorer) -> Response:
    """Say whether the model gives rewards."""
    return _ready(scorer, {"name": check_model(request, scorer).name})


def check_model(request: Request, scorer: Scorer) -> LoadedModel:
    """Return the model in service, if it is the one that the path names.

    Raises:
        HTTPException: 404, this server has another.
    """
    asked, model = request.path_params, scorer.model
    if asked["name"] != model.name:
        raise HTTPException(404, f"there is no model {asked['name']!r}: this server has {model.name!r}")
    if asked.get("version", model.version) != model.version:
        raise HTTPException(
            404, f"{model.name!r} has no version {asked['version']!r} here: this server has {model.version!r}"
        )
    return model


def parse(inputs: Sequence[Tensor], outputs: tuple[str, ...], limits: Limits) -> Group:
    """Return the prompt and the responses of an inference request.

    Raises:
        ValueError: a tensor is missing, unknown or of the wrong datatype or shape; the message names it.
    """
    names = [tensor.name for tensor in inputs]
    if sorted(names) != ["prompt", "responses"]:
        raise ValueError(f"inputs: the tensors 'prompt' and 'responses', once each, got {names!r:.80}")
    for name in outputs:
        if name != "rewards":
            raise ValueError(f"outputs: the one output is 'rewards', got {name!r:.80}")
    prompt_texts, responses = map(_texts, sorted(inputs, key=lambda tensor: tensor.name))
    if len(prompt_texts) != 1:
        raise ValueError(f"prompt: shape [1], got [{len(prompt_texts)}]: one request is about one prompt")
    prompt = messages(prompt_texts[0])
    check_texts(prompt, responses, limits)
    return Group(prompt, responses)


def _texts(tensor: Tensor) -> tuple[str, ...]:
    if tensor.datatype != "BYTES":
        raise ValueError(f"{tensor.name}: datatype BYTES, got {tensor.datatype!r:.80}")
    if len(tensor.shape) != 1:
        raise ValueError(f"{tensor.name}: shape [{len(tensor.data)}], got {list(tensor.shape)}")
    return tuple(tensor.data)


def _ready(scorer: Scorer, head: Mapping[str, Any]) -> JSONResponse:
    if scorer.not_ready:
        return JSONResponse({**head, "ready": False, "error": scorer.not_ready}, 503)
    return JSONResponse({**head, "ready": True})


PROTOCOL = Protocol(
    name="oip",
    policy=GATEWAYS,
    endpoints=(
        Endpoint(_MODEL + "/infer", infer, body=INFERENCE),
        Endpoint(_MODEL_VERSION + "/infer", infer),
    ),
    status_routes=(
        StatusRoute("/v2", server, described=True),
        StatusRoute("/v2/health/live", live, described=True),
        StatusRoute("/v2/health/ready", ready, described=True),
        StatusRoute("/v2/models", models),
        StatusRoute(_MODEL, metadata),
        StatusRoute(_MODEL_VERSION, metadata),
        StatusRoute(_MODEL + "/ready", model_ready),
        StatusRoute(_MODEL_VERSION + "/ready", model_ready),
    ),
    at_root=True,
)
