"""Open Inference Protocol v2 in its JSON form: tensors `prompt` and `responses` in, `rewards` out."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rewardlab import __version__
from rewardlab.groups import Message, messages
from serving.limits import Limits, check_texts, check_unicode, read_object
from serving.work import Worker

INPUTS = (
    {"name": "prompt", "datatype": "BYTES", "shape": [1]},
    {"name": "responses", "datatype": "BYTES", "shape": [-1]},
)
OUTPUTS = ({"name": "rewards", "datatype": "FP32", "shape": [-1]},)

Handler = Callable[[Request], Coroutine[Any, Any, JSONResponse]]


def routes(worker: Worker, *, name: str, version: str) -> list[Route]:
    """Return the protocol's routes for the one model that is served."""

    async def server(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({"name": "rewardlab", "version": __version__, "extensions": []})

    async def live(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({"live": True, "ready": worker.not_ready is None})

    async def ready(request: Request) -> JSONResponse:  # noqa: ARG001
        return _ready(worker, {"live": True})

    async def models(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({"models": [name]})

    async def metadata(request: Request) -> JSONResponse:
        _check_model(request, name, version)
        about = {"name": name, "versions": [version], "platform": "onnxruntime_onnx"}
        return JSONResponse({**about, "inputs": INPUTS, "outputs": OUTPUTS})

    async def model_ready(request: Request) -> JSONResponse:
        _check_model(request, name, version)
        return _ready(worker, {"name": name})

    model = "/v2/models/{name}"
    return [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2/models", models),
        *_both(model, metadata, "GET"),
        *_both(model, model_ready, "GET", "/ready"),
        *_both(model, _infer(worker, name, version), "POST", "/infer"),
    ]


def _both(model: str, handler: Handler, method: str, verb: str = "") -> list[Route]:
    """Return the routes of a handler with and without the model's version in the path."""
    paths = (model + verb, model + "/versions/{version}" + verb)
    return [Route(path, handler, methods=[method]) for path in paths]


def _infer(worker: Worker, name: str, version: str) -> Handler:
    async def infer(request: Request) -> JSONResponse:
        _check_model(request, name, version)
        if "inference-header-content-length" in request.headers:
            raise HTTPException(400, "binary tensor data is not supported: send the tensors' data as JSON")
        values = await read_object(request, worker.limits)
        try:
            prompt, responses = parse(values, worker.limits)
            scores = await worker.score(prompt, responses)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        rewards = {"name": "rewards", "datatype": "FP32", "shape": [len(responses)], "data": list(scores.rewards)}
        head = {"model_name": name, "model_version": version}
        return JSONResponse({**head, **({"id": values["id"]} if "id" in values else {}), "outputs": [rewards]})

    return infer


def parse(values: Mapping[str, Any], limits: Limits) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """Return the prompt and the responses of an inference request.

    Raises:
        ValueError: a tensor is missing, unknown or of the wrong datatype or shape; the message names it.
    """
    if "id" in values:
        if not isinstance(values["id"], str):
            raise ValueError(f"id: a string, got {values['id']!r:.80}")
        check_unicode("id", values["id"])
    names = [tensor.get("name") for tensor in _tensors(values, "inputs")]
    if sorted(map(repr, names)) != ["'prompt'", "'responses'"]:
        raise ValueError(f"inputs: the tensors 'prompt' and 'responses', once each, got {names!r:.80}")
    for tensor in _tensors(values, "outputs") if "outputs" in values else ():
        if tensor.get("name") != "rewards":
            raise ValueError(f"outputs: the one output is 'rewards', got {tensor.get('name')!r:.80}")
    texts = {tensor["name"]: _texts(tensor) for tensor in values["inputs"]}
    if len(texts["prompt"]) != 1:
        raise ValueError(f"prompt: shape [1], got [{len(texts['prompt'])}]: one request is about one prompt")
    prompt = messages(texts["prompt"][0])
    check_texts(prompt, texts["responses"], limits)
    return prompt, tuple(texts["responses"])


def _tensors(values: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    tensors = values.get(key)
    if not isinstance(tensors, list) or not all(isinstance(tensor, dict) for tensor in tensors):
        raise ValueError(f"{key}: a list of tensors, got {tensors!r:.80}")
    return tensors


def _texts(tensor: Mapping[str, Any]) -> list[str]:
    name, data, shape = tensor["name"], tensor.get("data"), tensor.get("shape")
    if tensor.get("datatype") != "BYTES":
        raise ValueError(f"{name}: datatype BYTES, got {tensor.get('datatype')!r:.80}")
    if not isinstance(data, list) or not all(isinstance(text, str) for text in data):
        raise ValueError(f"{name}: data is a list of strings, got {data!r:.80}")
    if shape != [len(data)] or type(shape[0]) is not int:
        raise ValueError(f"{name}: shape [{len(data)}], as its data has {len(data)} elements, got {shape!r:.80}")
    return data


def _ready(worker: Worker, head: Mapping[str, Any]) -> JSONResponse:
    if worker.not_ready:
        return JSONResponse({**head, "ready": False, "error": worker.not_ready}, 503)
    return JSONResponse({**head, "ready": True})


def _check_model(request: Request, name: str, version: str) -> None:
    asked = request.path_params
    if asked["name"] != name:
        raise HTTPException(404, f"there is no model {asked['name']!r}: this server has {name!r}")
    if asked.get("version", version) != version:
        raise HTTPException(404, f"{name!r} has no version {asked['version']!r} here: this server has {version!r}")
