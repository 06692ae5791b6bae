"""Open Inference Protocol v2: tensors `prompt` and `responses` in, `rewards` out; binary tensors too."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rewardlab import __version__
from rewardlab.groups import messages
from serving.desk import Call, Desk, rewards
from serving.limits import Limits, check_texts
from serving.served import Group
from serving.tensors import Tensor, read_inference
from serving.work import Worker

INPUTS = (
    {"name": "prompt", "datatype": "BYTES", "shape": [1]},
    {"name": "responses", "datatype": "BYTES", "shape": [-1]},
)
OUTPUTS = ({"name": "rewards", "datatype": "FP32", "shape": [-1]},)
EXTENSIONS = ["binary_tensor_data"]
_MODEL = "/v2/models/{name}"


def routes(desk: Desk) -> list[Route]:
    """Return the protocol's routes for the one model that is served."""

    async def infer(call: Call) -> Response:
        served = _check_model(call.request, desk.worker)
        inference = await read_inference(call.request, desk.worker.limits)
        group = parse(inference.inputs, inference.outputs, desk.worker.limits)
        (scored,) = await call.unless_gone(call.score([group]))
        values = rewards(scored)
        head = {"model_name": served["name"], "model_version": scored.served.version}
        return inference.reply(head, Tensor("rewards", "FP32", (len(values),), values))

    return [*about(desk.worker), *(desk.route(path, infer) for path in _both("/infer"))]


def about(worker: Worker) -> list[Route]:
    """Return the routes that describe server and model."""

    async def server(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({"name": "rewardlab", "version": __version__, "extensions": EXTENSIONS})

    async def live(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({"live": True, "ready": worker.not_ready is None})

    async def ready(request: Request) -> JSONResponse:  # noqa: ARG001
        return _ready(worker, {"live": True})

    async def models(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({"models": [worker.served.name]})

    async def metadata(request: Request) -> JSONResponse:
        names = _check_model(request, worker)
        return JSONResponse(
            {
                "name": names["name"],
                "versions": [names["version"]],
                "platform": "onnxruntime_onnx",
                "inputs": INPUTS,
                "outputs": OUTPUTS,
            }
        )

    async def model_ready(request: Request) -> JSONResponse:
        return _ready(worker, {"name": _check_model(request, worker)["name"]})

    return [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2/models", models),
        *(Route(path, metadata) for path in _both("")),
        *(Route(path, model_ready) for path in _both("/ready")),
    ]


def _both(verb: str) -> tuple[str, str]:
    """Return the paths with and without the model's version."""
    return _MODEL + verb, _MODEL + "/versions/{version}" + verb


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


def _ready(worker: Worker, head: Mapping[str, Any]) -> JSONResponse:
    if worker.not_ready:
        return JSONResponse({**head, "ready": False, "error": worker.not_ready}, 503)
    return JSONResponse({**head, "ready": True})


def _check_model(request: Request, worker: Worker) -> dict[str, str]:
    asked, served = request.path_params, worker.served
    if asked["name"] != served.name:
        raise HTTPException(404, f"there is no model {asked['name']!r}: this server has {served.name!r}")
    if asked.get("version", served.version) != served.version:
        raise HTTPException(
            404, f"{served.name!r} has no version {asked['version']!r} here: this server has {served.version!r}"
        )
    return {"name": served.name, "version": served.version}
