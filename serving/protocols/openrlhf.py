"""OpenRLHF's remote reward model: `POST /get_reward`, as `openrlhf/utils/agent.py` (0.11.2) asks it."""

from typing import Any

from starlette.routing import Route

from serving.desk import Call, Desk, each_reward
from serving.fields import strings
from serving.served import Item, Text


def routes(desk: Desk) -> list[Route]:
    """Return the protocol's route."""
    return [desk.post("/get_reward", answer)]


async def answer(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Score whole texts; where the client sends their prompts too, these say where each response begins.

    The trainer logs what is in `extra_logs`.
    """
    limits = call.desk.worker.limits
    queries = strings(values, "query", limits)
    prompts = values.get("prompts")  # of help where they are texts; a trainer's own objects are not
    if not isinstance(prompts, list) or len(prompts) != len(queries):
        prompts = [""] * len(queries)
    items: list[Item] = [
        Text(query, prompt if isinstance(prompt, str) else "") for query, prompt in zip(queries, prompts, strict=True)
    ]
    scored = await call.score(items)
    rewards = each_reward(scored, "query")
    logs = {
        "truncated": [float(any(each.truncated)) for each in scored],
        "literal_marker": [float(each.literal) for each in scored],
        "num_tokens": [float(sum(each.num_tokens)) for each in scored],
    }
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs, "model": call.served.label}
