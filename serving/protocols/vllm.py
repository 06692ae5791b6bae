"""vLLM's pooling endpoints: `/classify`, `/pooling`, `/score` and `/rerank`; rewards are raw, whatever is asked."""

import time
from collections.abc import Mapping, Sequence
from typing import TypedDict

from rewardlab.groups import messages
from serving.admission import OverloadPolicy
from serving.fields import STRING, STRINGS, TEXTS, conversation, object_of, pairs, string, strings, texts
from serving.loaded_model import Group, Item
from serving.protocol import Endpoint, Protocol, RequestContext, json_reply
from serving.scorer import Scored, each_reward, rewards

_QUERIES, _DOCUMENTS = ("queries", "text_1", "data_1"), ("documents", "items", "text_2", "data_2")


class Flags(TypedDict):
    """What an entry says of its text beside the reward; both are ours."""

    truncated: bool
    literal_marker: bool


class Classified(Flags):
    """An entry of `/classify`."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class Pooled(Flags):
    """An entry of `/pooling`."""

    index: int
    object: str
    data: list[float]


class PairScore(TypedDict):
    """An entry of `/score`."""

    index: int
    object: str
    score: float


class Listing(TypedDict):
    """The reply of all but `/rerank`, with an entry for each text."""

    id: str
    object: str
    created: int
    model: str
    data: list[Classified] | list[Pooled] | list[PairScore]
    usage: dict[str, int]


class RankedDocument(TypedDict):
    """A response with its place in the request and its reward."""

    index: int
    document: dict[str, str]
    relevance_score: float


class Ranking(TypedDict):
    """The reply of `/rerank`."""

    id: str
    model: str
    usage: dict[str, int]
    results: list[RankedDocument]


async def classify(context: RequestContext, values: Mapping[str, object]) -> Listing:
    """Return each text's reward as the one entry of its `probs`."""
    scored = await context.score(_items(context, values))
    data: list[Classified] = [
        {"index": index, "label": "LABEL_0", "probs": [reward], "num_classes": 1, **_flags(item)}
        for index, (reward, item) in enumerate(zip(each_reward(scored, "input"), scored, strict=True))
    ]
    return _listed(context, "classify", data, scored)


async def pooling(context: RequestContext, values: Mapping[str, object]) -> Listing:
    """Return each text's reward as the one entry of its `data`."""
    task = values.get("task") or "classify"
    if task != "classify":
        raise ValueError(f"task: 'classify', which gives a text's reward, got {task!r:.80}")
    scored = await context.score(_items(context, values))
    data: list[Pooled] = [
        {"index": index, "object": "pooling", "data": [reward], **_flags(item)}
        for index, (reward, item) in enumerate(zip(each_reward(scored, "input"), scored, strict=True))
    ]
    return _listed(context, "pool", data, scored)


async def score(context: RequestContext, values: Mapping[str, object]) -> Listing:
    """Return the rewards of responses to one prompt, or to one prompt each."""
    limits = context.limits
    left = strings(values, next((key for key in _QUERIES if key in values), _QUERIES[0]), limits)
    right = strings(values, next((key for key in _DOCUMENTS if key in values), _DOCUMENTS[0]), limits)
    if len(left) not in (1, len(right)):
        raise ValueError(f"one prompt, or one for each of the {len(right)} responses, got {len(left)}")
    scored = await context.score(pairs(left * len(right) if len(left) == 1 else left, right))
    data: list[PairScore] = [
        {"index": index, "object": "score", "score": reward}
        for index, reward in enumerate(each_reward(scored, "documents"))
    ]
    return _listed(context, "score", data, scored)


async def rerank(context: RequestContext, values: Mapping[str, object]) -> Ranking:
    """Return the responses to one prompt, the best first."""
    limits = context.limits
    documents = strings(values, "documents", limits)
    top = values.get("top_n") or len(documents)
    if type(top) is not int or top < 0:
        raise ValueError(f"top_n: a number of documents, or 0 for all, got {top!r:.80}")
    (scored,) = await context.score([Group(messages(string(values, "query", limits)), documents)])
    scores = rewards(scored, "documents")
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[:top]
    results: list[RankedDocument] = [
        {"index": index, "document": {"text": documents[index]}, "relevance_score": scores[index]} for index in order
    ]
    return {
        "id": f"rerank-{context.id}",
        "model": context.model.label,
        "usage": {"total_tokens": sum(scored.num_tokens)},
        "results": results,
    }


def _items(context: RequestContext, values: Mapping[str, object]) -> list[Item]:
    limits = context.limits
    if "messages" in values:
        return [conversation(values["messages"], "messages", limits)]
    return texts(values, "input", limits)


def _flags(scored: Scored) -> Flags:
    return {"truncated": any(scored.truncated), "literal_marker": scored.literal}


def _listed(
    context: RequestContext,
    kind: str,
    data: list[Classified] | list[Pooled] | list[PairScore],
    scored: Sequence[Scored],
) -> Listing:
    tokens = sum(sum(each.num_tokens) for each in scored)
    return {
        "id": f"{kind}-{context.id}",
        "object": "list",
        "created": int(time.time()),
        "model": context.model.label,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


_RANKED = object_of(["query", "documents"], query=STRING, documents=STRINGS, top_n={"type": "integer", "minimum": 0})

PROTOCOL = Protocol(
    name="vllm",
    policy=OverloadPolicy(
        hold_seconds=0,
        deadline_seconds=120,
        why="vLLM itself answers 503 when its queue is full",
    ),
    endpoints=(
        Endpoint("/classify", json_reply(classify), body=object_of(["input"], input=TEXTS, model=STRING)),
        Endpoint("/pooling", json_reply(pooling), body=object_of(["input"], input=TEXTS, model=STRING, task=STRING)),
        Endpoint("/score", json_reply(score), body=object_of(["text_1", "text_2"], text_1=STRINGS, text_2=STRINGS)),
        Endpoint("/v1/score", json_reply(score)),
        Endpoint("/rerank", json_reply(rerank), body=_RANKED),
        Endpoint("/v1/rerank", json_reply(rerank)),
        Endpoint("/v2/rerank", json_reply(rerank)),
    ),
)
