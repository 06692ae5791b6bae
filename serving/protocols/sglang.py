"""SGLang's endpoints for reward models: `/classify`, `/v1/embeddings` and `/v1/score`; rewards are raw."""

from typing import Any

from starlette.routing import Route

from rewardlab.groups import messages
from serving.desk import Call, Desk, each_reward, rewards
from serving.fields import conversation, string, strings, texts
from serving.served import Group, Item
from serving.work import Scored

_BODIES = ("text", "input_ids", "conv")


def routes(desk: Desk) -> list[Route]:
    """Return the protocol's routes."""
    return [desk.post("/classify", classify), desk.post("/v1/embeddings", embeddings), desk.post("/v1/score", score)]


async def classify(call: Call, values: dict[str, Any]) -> Any:
    """Return each text's reward as the one entry of its `embedding`: an object for one text, a list for a list."""
    given = [key for key in _BODIES if values.get(key) is not None]
    if len(given) != 1:
        raise ValueError(f"one of {', '.join(_BODIES)}, got {', '.join(given) or 'none of them'}")
    scored = await call.score(_items(call, values, given[0]))
    found = [_entry(call, index, reward, scored[index]) for index, reward in enumerate(each_reward(scored, given[0]))]
    return found if _is_many(values[given[0]]) else found[0]


async def embeddings(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Return each text's reward as the one entry of its `embedding`, in OpenAI's form."""
    scored = await call.score(texts(values, "input", call.desk.worker.limits))
    data = [
        {"object": "embedding", "index": index, "embedding": [reward]}
        for index, reward in enumerate(each_reward(scored, "input"))
    ]
    tokens = sum(sum(each.num_tokens) for each in scored)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    return {"object": "list", "data": data, "model": call.served.label, "usage": usage}


async def score(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Return the rewards of responses to one prompt, each as a list of one."""
    limits = call.desk.worker.limits
    items = strings(values, "items", limits)
    (scored,) = await call.score([Group(messages(string(values, "query", limits)), items)])
    tokens = sum(scored.num_tokens)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    scores = [[reward] for reward in rewards(scored, "items")]
    return {"scores": scores, "object": "scoring", "model": call.served.label, "usage": usage}


def _items(call: Call, values: dict[str, Any], key: str) -> list[Item]:
    limits = call.desk.worker.limits
    if key != "conv":
        return texts(values, key, limits)
    talks = values["conv"] if _is_many(values["conv"]) else [values["conv"]]
    return [conversation(talk, f"conv[{index}]", limits) for index, talk in enumerate(talks)]


def _is_many(value: Any) -> bool:
    """Say whether there are several texts: a list of ids is one, and so is a list of turns."""
    return isinstance(value, list) and not all(isinstance(entry, (int, dict)) for entry in value)


def _entry(call: Call, index: int, reward: float, scored: Scored) -> dict[str, Any]:
    about = {
        "id": f"{call.id}-{index}",
        "prompt_tokens": sum(scored.num_tokens),
        "truncated": any(scored.truncated),
        "literal_marker": scored.literal,
        "model": call.served.label,
    }
    return {"embedding": [reward], "meta_info": about}
