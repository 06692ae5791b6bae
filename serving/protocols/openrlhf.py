"""OpenRLHF's remote reward model: `POST /get_reward`, as `openrlhf/utils/agent.py` (0.11.2) asks it."""

from collections.abc import Mapping
from typing import TypedDict

from serving.admission import OverloadPolicy
from serving.fields import STRINGS, object_of, strings
from serving.loaded_model import Item, Text
from serving.protocol import Endpoint, Protocol, RequestContext, json_reply
from serving.scorer import each_reward


class Rewards(TypedDict):
    """The reply; the trainer logs what is in `extra_logs`."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]
    model: str


async def answer(context: RequestContext, values: Mapping[str, object]) -> Rewards:
    """Score whole texts; where the client sends their prompts too, these say where each response begins."""
    limits = context.limits
    queries = strings(values, "query", limits)
    prompts = values.get("prompts")  # of help where they are texts; a trainer's own objects are not
    if not isinstance(prompts, list) or len(prompts) != len(queries):
        prompts = [""] * len(queries)
    items: list[Item] = [
        Text(query, prompt if isinstance(prompt, str) else "") for query, prompt in zip(queries, prompts, strict=True)
    ]
    scored = await context.score(items)
    rewards = each_reward(scored, "query")
    logs = {
        "truncated": [float(any(each.truncated)) for each in scored],
        "literal_marker": [float(each.literal) for each in scored],
        "num_tokens": [float(sum(each.num_tokens)) for each in scored],
    }
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs, "model": context.model.label}


PROTOCOL = Protocol(
    name="openrlhf",
    policy=OverloadPolicy(
        hold_seconds=165,
        deadline_seconds=170,
        why="gives up after 180 s and five tries, then goes on with no reward and says nothing",
    ),
    endpoints=(
        Endpoint(
            "/get_reward",
            json_reply(answer),
            body=object_of(["query"], query=STRINGS, prompts=STRINGS, labels={"type": "array"}),
        ),
    ),
)
