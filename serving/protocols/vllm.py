"""vLLM's pooling endpoints: `/classify`, `/pooling`, `/score` and `/rerank`; rewards are raw, whatever is asked."""

import time
from collections.abc import Sequence
from typing import Any

from starlette.routing import Route

from rewardlab.groups import messages
from serving.desk import Call, Desk, each_reward, rewards
from serving.fields import conversation, pairs, string, strings, texts
from serving.served import Group, Item
from serving.work import Scored

_QUERIES, _DOCUMENTS = ("queries", "text_1", "data_1"), ("documents", "items", "text_2", "data_2")


def routes(desk: Desk) -> list[Route]:
    """Return the protocol's routes."""
    return [
        desk.post("/classify", classify),
        desk.post("/pooling", pooling),
        *(desk.post(path, score) for path in ("/score", "/v1/score")),
        *(desk.post(path, rerank) for path in ("/rerank", "/v1/rerank", "/v2/rerank")),
    ]


async def classify(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Return each text's reward as the one entry of its `probs`."""
    scored = await call.score(_items(call, values))
    data = [
        {"index": index, "label": "LABEL_0", "probs": [reward], "num_classes": 1, **_flags(each)}
        for index, (reward, each) in enumerate(zip(each_reward(scored, "input"), scored, strict=True))
    ]
    return _listed(call, "classify", data, scored)


async def pooling(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Return each text's reward as the one entry of its `data`."""
    task = values.get("task") or "classify"
    if task != "classify":
        raise ValueError(f"task: 'classify', which gives a text's reward, got {task!r:.80}")
    scored = await call.score(_items(call, values))
    data = [
        {"index": index, "object": "pooling", "data": [reward], **_flags(each)}
        for index, (reward, each) in enumerate(zip(each_reward(scored, "input"), scored, strict=True))
    ]
    return _listed(call, "pool", data, scored)


async def score(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Return the rewards of responses to one prompt, or to one prompt each."""
    limits = call.desk.worker.limits
    left = strings(values, next((key for key in _QUERIES if key in values), _QUERIES[0]), limits)
    right = strings(values, next((key for key in _DOCUMENTS if key in values), _DOCUMENTS[0]), limits)
    if len(left) not in (1, len(right)):
        raise ValueError(f"one prompt, or one for each of the {len(right)} responses, got {len(left)}")
    scored = await call.score(pairs(left * len(right) if len(left) == 1 else left, right))
    data = [
        {"index": index, "object": "score", "score": reward}
        for index, reward in enumerate(each_reward(scored, "documents"))
    ]
    return _listed(call, "score", data, scored)


async def rerank(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Return the responses to one prompt, the best first."""
    limits = call.desk.worker.limits
    documents = strings(values, "documents", limits)
    top = values.get("top_n") or len(documents)
    if type(top) is not int or top < 0:
        raise ValueError(f"top_n: a number of documents, or 0 for all, got {top!r:.80}")
    (scored,) = await call.score([Group(messages(string(values, "query", limits)), documents)])
    found = rewards(scored, "documents")
    order = sorted(range(len(found)), key=lambda index: -found[index])[:top]
    results = [
        {"index": index, "document": {"text": documents[index]}, "relevance_score": found[index]} for index in order
    ]
    head = {"id": f"rerank-{call.id}", "model": call.served.label, "usage": {"total_tokens": sum(scored.num_tokens)}}
    return {**head, "results": results}


def _items(call: Call, values: dict[str, Any]) -> list[Item]:
    limits = call.desk.worker.limits
    if "messages" in values:
        return [conversation(values["messages"], "messages", limits)]
    return texts(values, "input", limits)


def _flags(scored: Scored) -> dict[str, Any]:
    return {"truncated": any(scored.truncated), "literal_marker": scored.literal}


def _listed(call: Call, kind: str, data: Sequence[Any], scored: Sequence[Scored]) -> dict[str, Any]:
    tokens = sum(sum(each.num_tokens) for each in scored)
    return {
        "id": f"{kind}-{call.id}",
        "object": "list",
        "created": int(time.time()),
        "model": call.served.label,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
