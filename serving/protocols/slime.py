"""slime's remote reward model (`slime/rollout/rm_hub`): a prompt and a response in, a number or an object out."""

from collections.abc import Mapping
from typing import TypedDict

from rewardlab.groups import messages
from serving.admission import OverloadPolicy
from serving.fields import STRING, object_of, prompt_messages, string
from serving.limits import check_texts
from serving.loaded_model import Group, Item, Text
from serving.protocol import Endpoint, Protocol, RequestContext, json_reply
from serving.scorer import each_reward


class ScoredResponse(TypedDict):
    """The reply with a reward key; the flags are ours."""

    score: float
    truncated: bool
    literal_marker: bool
    num_tokens: int
    model: str


async def number(context: RequestContext, values: Mapping[str, object]) -> float:
    """Return the reward itself, which is what slime takes without a reward key."""
    return (await detailed(context, values))["score"]


async def detailed(context: RequestContext, values: Mapping[str, object]) -> ScoredResponse:
    """Return the reward under `score`, and what the number alone cannot say."""
    scored = await context.score([_item(context, values)])
    (reward,) = each_reward(scored, "response")
    (item,) = scored
    return {
        "score": reward,
        "truncated": any(item.truncated),
        "literal_marker": item.literal,
        "num_tokens": sum(item.num_tokens),
        "model": context.model.label,
    }


def _item(context: RequestContext, values: Mapping[str, object]) -> Item:
    """Return what is scored: the prompt is messages, text that the template has rendered, or a user's own words."""
    limits = context.limits
    response = string(values, "response", limits)
    if isinstance(values.get("prompt"), str):
        prompt = string(values, "prompt", limits)
        return Text(prompt + response, prompt, apart=True) if prompt else Group(messages(""), [response], decoded=True)
    turns = prompt_messages(values.get("prompt"), "prompt")
    check_texts(turns, [response], limits)
    return Group(turns, [response], decoded=True)


_BODY = object_of(["prompt", "response"], prompt=STRING, response=STRING, label={})

PROTOCOL = Protocol(
    name="slime",
    policy=OverloadPolicy(
        hold_seconds=90,
        deadline_seconds=110,
        why="gives up after 120 s in all; asks again 10 times, with growing waits, after anything",
    ),
    endpoints=(
        Endpoint("/rm", json_reply(number), body=_BODY),
        Endpoint("/rm/object", json_reply(detailed), body=_BODY),  # for `--reward-key score`
    ),
)
