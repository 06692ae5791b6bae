"""slime's remote reward model (`slime/rollout/rm_hub`): a prompt and a response in, a number or an object out."""

from typing import Any

from starlette.routing import Route

from rewardlab.groups import messages
from serving.desk import Call, Desk, each_reward
from serving.fields import string
from serving.limits import check_texts
from serving.served import Group, Item, Text


def routes(desk: Desk) -> list[Route]:
    """Return the protocol's routes: a bare number, and an object for `--reward-key score`."""
    return [desk.post("/rm", number), desk.post("/rm/object", detailed)]


async def number(call: Call, values: dict[str, Any]) -> float:
    """Return the reward itself, which is what slime takes without a reward key."""
    return float((await detailed(call, values))["score"])


async def detailed(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Return the reward under `score`, and what the number alone cannot say."""
    scored = await call.score([_item(call, values)])
    (reward,) = each_reward(scored, "response")
    (each,) = scored
    flags = {"truncated": any(each.truncated), "literal_marker": each.literal, "num_tokens": sum(each.num_tokens)}
    return {"score": reward, **flags, "model": call.served.label}


def _item(call: Call, values: dict[str, Any]) -> Item:
    """Return what is scored: the prompt is messages, text that the template has rendered, or a user's own words."""
    limits = call.desk.worker.limits
    response = string(values, "response", limits)
    if isinstance(values.get("prompt"), str):
        prompt = string(values, "prompt", limits)
        return Text(prompt + response, prompt, apart=True) if prompt else Group(messages(""), [response], decoded=True)
    try:
        turns = messages(values.get("prompt"))
    except ValueError as error:
        raise ValueError(f"prompt: {error}") from error
    check_texts(turns, [response], limits)
    return Group(turns, [response], decoded=True)
