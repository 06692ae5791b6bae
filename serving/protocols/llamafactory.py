"""LLaMA-Factory's scoring: `POST /v1/score/evaluation`, as `train/ppo/ppo_utils.py` asks it."""

from collections.abc import Mapping
from typing import TypedDict

from serving.admission import OverloadPolicy
from serving.fields import STRING, STRINGS, object_of, texts
from serving.protocol import Endpoint, Protocol, RequestContext, json_reply
from serving.scorer import each_reward


class Evaluation(TypedDict):
    """The reply; the last two fields are ours."""

    id: str
    object: str
    model: str
    scores: list[float]
    truncated: list[bool]
    literal_marker: list[bool]


async def answer(context: RequestContext, values: Mapping[str, object]) -> Evaluation:
    """Score whole texts; `max_length` is the bundle's own matter."""
    scored = await context.score(texts(values, "messages", context.limits))
    return {
        "id": f"scoreval-{context.id}",
        "object": "score.evaluation",
        "model": context.model.label,
        "scores": each_reward(scored, "messages"),
        "truncated": [any(each.truncated) for each in scored],
        "literal_marker": [each.literal for each in scored],
    }


PROTOCOL = Protocol(
    name="llamafactory",
    policy=OverloadPolicy(
        hold_seconds=3600,
        deadline_seconds=3600,
        why="has no timeout, looks at no status and never asks again: an error ends the training",
    ),
    endpoints=(
        Endpoint(
            "/v1/score/evaluation",
            json_reply(answer),
            body=object_of(["messages"], messages=STRINGS, model=STRING),
        ),
    ),
)
