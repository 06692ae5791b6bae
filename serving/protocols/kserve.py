"""KServe's protocol v1: `POST /v1/models/NAME:predict`, instances in, predictions out."""

from collections.abc import Mapping
from typing import Any, TypedDict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rewardlab.groups import messages
from serving.fields import object_of, strings
from serving.limits import check_count, check_texts
from serving.loaded_model import Group, Item, Text
from serving.protocol import Endpoint, Protocol, RequestContext, StatusRoute, json_reply
from serving.protocols import oip
from serving.scorer import Scorer, failure

_MODEL = "/v1/models/{name}"


class Predictions(TypedDict):
    """The reply: for each instance a list of rewards, or the one reward of a text."""

    predictions: list[list[float | None] | float | None]
    model_name: str
    model_version: str


async def predict(context: RequestContext, values: Mapping[str, object]) -> Predictions:
    """Score instances: `{prompt, responses}` gives a list of rewards, a text that ends with a response one reward."""
    oip.check_model(context.request, context.scorer)
    instances = values.get("instances")
    if not isinstance(instances, list) or not instances:
        raise ValueError(f"instances: a list of at least one, got {instances!r:.80}")
    check_count(len(instances), context.limits)
    scored = await context.score([_item(context, index, instance) for index, instance in enumerate(instances)])
    errors = [(f"instances[{index}]", error) for index, item in enumerate(scored) for error in item.errors.values()]
    if errors:
        raise failure(errors)
    predictions = [
        list(item.rewards) if isinstance(instance, dict) else item.rewards[0]
        for instance, item in zip(instances, scored, strict=True)
    ]
    return {"predictions": predictions, "model_name": context.model.name, "model_version": context.model.version}


def _item(context: RequestContext, index: int, instance: Any) -> Item:
    limits, where = context.limits, f"instances[{index}]"
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


async def model_ready(request: Request, scorer: Scorer) -> Response:
    """Say whether the model is ready."""
    oip.check_model(request, scorer)
    ready = scorer.not_ready is None
    return JSONResponse({"name": scorer.model.name, "ready": ready}, 200 if ready else 503)


PROTOCOL = Protocol(
    name="kserve",
    policy=oip.GATEWAYS,
    endpoints=(
        Endpoint(
            _MODEL + ":predict",
            json_reply(predict),
            body=object_of(["instances"], instances={"type": "array"}),
        ),
    ),
    status_routes=(StatusRoute("/v1/models", oip.models), StatusRoute(_MODEL, model_ready)),
    at_root=True,
)
