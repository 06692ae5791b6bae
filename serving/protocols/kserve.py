"""KServe's protocol v1: `POST /v1/models/NAME:predict`, instances in, predictions out."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rewardlab.groups import messages
from serving.desk import Call, Desk, failure
from serving.fields import strings
from serving.limits import check_count, check_texts
from serving.served import Group, Item, Text

_MODEL = "/v1/models/{name}"


def routes(desk: Desk) -> list[Route]:
    """Return the protocol's routes."""

    async def listed(request: Request) -> JSONResponse:  # noqa: ARG001
        return JSONResponse({"models": [desk.worker.served.name]})

    async def ready(request: Request) -> JSONResponse:
        _check_model(request, desk)
        good = desk.worker.not_ready is None
        return JSONResponse({"name": desk.worker.served.name, "ready": good}, 200 if good else 503)

    return [
        Route(desk.prefix + "/v1/models", listed),
        Route(desk.prefix + _MODEL, ready),
        desk.post(_MODEL + ":predict", predict),
    ]


async def predict(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Score instances: `{prompt, responses}` gives a list of rewards, a text that ends with a response one reward."""
    _check_model(call.request, call.desk)
    instances = values.get("instances")
    if not isinstance(instances, list) or not instances:
        raise ValueError(f"instances: a list of at least one, got {instances!r:.80}")
    check_count(len(instances), call.desk.worker.limits)
    scored = await call.score([_item(call, index, each) for index, each in enumerate(instances)])
    if errors := [(f"instances[{at}]", error) for at, each in enumerate(scored) for error in each.errors.values()]:
        raise failure(errors)
    predictions = [
        list(each.rewards) if isinstance(instance, dict) else each.rewards[0]
        for instance, each in zip(instances, scored, strict=True)
    ]
    return {"predictions": predictions, "model_name": call.served.name, "model_version": call.served.version}


def _item(call: Call, index: int, instance: Any) -> Item:
    limits, where = call.desk.worker.limits, f"instances[{index}]"
    if isinstance(instance, str):
        return Text(strings({where: instance}, where, limits)[0])
    if not isinstance(instance, dict) or set(instance) != {"prompt", "responses"}:
        raise ValueError(
            f"{where}: {{'prompt', 'responses'}} or a text that ends with a response, got {instance!r:.80}"
        )
    responses = strings({f"{where}.responses": instance["responses"]}, f"{where}.responses", limits)
    try:
        prompt = messages(instance["prompt"])
        check_texts(prompt, responses, limits)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Group(prompt, responses)


def _check_model(request: Request, desk: Desk) -> None:
    asked, name = request.path_params["name"], desk.worker.served.name
    if asked != name:
        raise HTTPException(404, f"there is no model {asked!r}: this server has {name!r}")
