"""LLaMA-Factory's scoring: `POST /v1/score/evaluation`, as `train/ppo/ppo_utils.py` asks it."""

from typing import Any

from starlette.routing import Route

from serving.desk import Call, Desk, each_reward
from serving.fields import texts


def routes(desk: Desk) -> list[Route]:
    """Return the protocol's route."""
    return [desk.post("/v1/score/evaluation", answer)]


async def answer(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Score whole texts; `max_length` is the bundle's own matter."""
    scored = await call.score(texts(values, "messages", call.desk.worker.limits))
    return {
        "id": f"scoreval-{call.id}",
        "object": "score.evaluation",
        "model": call.served.label,
        "scores": each_reward(scored, "messages"),
        "truncated": [any(each.truncated) for each in scored],
        "literal_marker": [each.literal for each in scored],
    }
