"""text-embeddings-inference: `/predict` and `/rerank`; rewards are raw, whatever `raw_scores` says."""

from typing import Any

from starlette.routing import Route

from rewardlab.groups import messages
from serving.desk import Call, Desk, each_reward, rewards
from serving.fields import string, strings
from serving.limits import check_count
from serving.served import Group, Item, Text


def routes(desk: Desk) -> list[Route]:
    """Return the protocol's routes."""
    return [desk.post("/predict", predict), desk.post("/rerank", rerank)]


async def predict(call: Call, values: dict[str, Any]) -> Any:
    """Return the reward of one text or pair, or of each of a batch: a pair is a user's turn and its response."""
    inputs = values.get("inputs")
    many = isinstance(inputs, list) and not all(isinstance(entry, str) for entry in inputs)
    entries: Any = inputs if many else [inputs]
    check_count(len(entries), call.desk.worker.limits)
    scored = await call.score([_item(call, index, entry) for index, entry in enumerate(entries)])
    found = [[{"score": reward, "label": "LABEL_0"}] for reward in each_reward(scored, "inputs")]
    return found if many else found[0]


async def rerank(call: Call, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the responses to one prompt, the best first."""
    limits = call.desk.worker.limits
    texts = strings(values, "texts", limits)
    (scored,) = await call.score([Group(messages(string(values, "query", limits)), texts)])
    found = rewards(scored, "texts")
    order = sorted(range(len(found)), key=lambda index: -found[index])
    wants_text = values.get("return_text") is True
    return [{"index": at, "score": found[at], **({"text": texts[at]} if wants_text else {})} for at in order]


def _item(call: Call, index: int, entry: Any) -> Item:
    limits = call.desk.worker.limits
    parts = strings({f"inputs[{index}]": entry}, f"inputs[{index}]", limits)
    if len(parts) > 2:
        raise ValueError(f"inputs[{index}]: one text or a pair, got {len(parts)}")
    return Text(parts[0]) if len(parts) == 1 else Group(messages(parts[0]), [parts[1]])
