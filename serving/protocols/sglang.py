"""SGLang's endpoints for reward models: `/classify`, `/v1/embeddings` and `/v1/score`; rewards are raw."""

from collections.abc import Mapping
from typing import TypedDict, TypeGuard

from rewardlab.groups import messages
from serving.admission import OverloadPolicy
from serving.fields import STRING, STRINGS, TEXTS, conversation, object_of, string, strings, texts
from serving.loaded_model import Group, Item
from serving.protocol import Endpoint, Protocol, RequestContext, json_reply
from serving.scorer import Scored, each_reward, rewards

_TEXT_KEYS = ("text", "input_ids", "conv")


class TextInfo(TypedDict):
    """What SGLang says of a text beside its embedding; `truncated` and `literal_marker` are ours."""

    id: str
    prompt_tokens: int
    truncated: bool
    literal_marker: bool
    model: str


class Classification(TypedDict):
    """The reply to one text of `/classify`: its reward is the one entry of the embedding."""

    embedding: list[float]
    meta_info: TextInfo


class Embedding(TypedDict):
    """A text's reward in OpenAI's form."""

    object: str
    index: int
    embedding: list[float]


class Embeddings(TypedDict):
    """The reply of `/v1/embeddings`."""

    object: str
    data: list[Embedding]
    model: str
    usage: dict[str, int]


class Scores(TypedDict):
    """The reply of `/v1/score`."""

    scores: list[list[float]]
    object: str
    model: str
    usage: dict[str, int]


async def classify(context: RequestContext, values: Mapping[str, object]) -> Classification | list[Classification]:
    """Return each text's reward as the one entry of its `embedding`: an object for one text, a list for a list."""
    keys = [key for key in _TEXT_KEYS if values.get(key) is not None]
    if len(keys) != 1:
        raise ValueError(f"one of {', '.join(_TEXT_KEYS)}, got {', '.join(keys) or 'none of them'}")
    (key,) = keys
    scored = await context.score(_items(context, values, key))
    rewards_of_texts = each_reward(scored, key)
    entries = [_entry(context, index, reward, scored[index]) for index, reward in enumerate(rewards_of_texts)]
    return entries if _is_many(values[key]) else entries[0]


async def embeddings(context: RequestContext, values: Mapping[str, object]) -> Embeddings:
    """Return each text's reward as the one entry of its `embedding`, in OpenAI's form."""
    scored = await context.score(texts(values, "input", context.limits))
    data: list[Embedding] = [
        {"object": "embedding", "index": index, "embedding": [reward]}
        for index, reward in enumerate(each_reward(scored, "input"))
    ]
    tokens = sum(sum(each.num_tokens) for each in scored)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    return {"object": "list", "data": data, "model": context.model.label, "usage": usage}


async def score(context: RequestContext, values: Mapping[str, object]) -> Scores:
    """Return the rewards of responses to one prompt, each as a list of one."""
    limits = context.limits
    items = strings(values, "items", limits)
    (scored,) = await context.score([Group(messages(string(values, "query", limits)), items)])
    tokens = sum(scored.num_tokens)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    scores = [[reward] for reward in rewards(scored, "items")]
    return {"scores": scores, "object": "scoring", "model": context.model.label, "usage": usage}


def _items(context: RequestContext, values: Mapping[str, object], key: str) -> list[Item]:
    limits = context.limits
    if key != "conv":
        return texts(values, key, limits)
    conversations = values["conv"]
    talks = conversations if _is_many(conversations) else [conversations]
    return [conversation(talk, f"conv[{index}]", limits) for index, talk in enumerate(talks)]


def _is_many(value: object) -> TypeGuard[list[object]]:
    """Say whether there are several texts: a list of ids is one, and so is a list of turns."""
    return isinstance(value, list) and not all(isinstance(entry, (int, dict)) for entry in value)


def _entry(context: RequestContext, index: int, reward: float, scored: Scored) -> Classification:
    about: TextInfo = {
        "id": f"{context.id}-{index}",
        "prompt_tokens": sum(scored.num_tokens),
        "truncated": any(scored.truncated),
        "literal_marker": scored.literal,
        "model": context.model.label,
    }
    return {"embedding": [reward], "meta_info": about}


PROTOCOL = Protocol(
    name="sglang",
    policy=OverloadPolicy(
        hold_seconds=0,
        deadline_seconds=120,
        why="SGLang itself answers 503 when its queue is full",
    ),
    endpoints=(
        Endpoint("/classify", json_reply(classify), body=object_of(["text"], text=TEXTS)),
        Endpoint("/v1/embeddings", json_reply(embeddings), body=object_of(["input"], input=TEXTS)),
        Endpoint("/v1/score", json_reply(score), body=object_of(["query", "items"], query=STRING, items=STRINGS)),
    ),
)
