"""text-embeddings-inference: `/predict` and `/rerank`; rewards are raw, whatever `raw_scores` says."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from rewardlab.groups import messages
from serving.admission import OverloadPolicy
from serving.fields import BOOLEAN, STRING, STRINGS, object_of, string, strings
from serving.limits import check_count
from serving.loaded_model import Group, Item, Text
from serving.protocol import Endpoint, Protocol, RequestContext, json_reply
from serving.scorer import each_reward, rewards


class Prediction(TypedDict):
    """A text's reward under the one label there is."""

    score: float
    label: str


class Ranked(TypedDict):
    """A response's place in the request and its reward; its text where it is asked for."""

    index: int
    score: float
    text: NotRequired[str]


async def predict(context: RequestContext, values: Mapping[str, object]) -> list[Prediction] | list[list[Prediction]]:
    """Return the reward of one text or pair, or of each of a batch: a pair is a user's turn and its response."""
    inputs = values.get("inputs")
    many = isinstance(inputs, list) and not all(isinstance(entry, str) for entry in inputs)
    entries: Any = inputs if many else [inputs]
    check_count(len(entries), context.limits)
    scored = await context.score([_item(context, index, entry) for index, entry in enumerate(entries)])
    labelled = [[Prediction(score=reward, label="LABEL_0")] for reward in each_reward(scored, "inputs")]
    return labelled if many else labelled[0]


async def rerank(context: RequestContext, values: Mapping[str, object]) -> list[Ranked]:
    """Return the responses to one prompt, the best first."""
    limits = context.limits
    texts = strings(values, "texts", limits)
    (scored,) = await context.score([Group(messages(string(values, "query", limits)), texts)])
    scores = rewards(scored, "texts")
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    if values.get("return_text") is True:
        return [{"index": index, "score": scores[index], "text": texts[index]} for index in order]
    return [{"index": index, "score": scores[index]} for index in order]


def _item(context: RequestContext, index: int, entry: Any) -> Item:
    limits = context.limits
    parts = strings({f"inputs[{index}]": entry}, f"inputs[{index}]", limits)
    if len(parts) > 2:
        raise ValueError(f"inputs[{index}]: one text or a pair, got {len(parts)}")
    return Text(parts[0]) if len(parts) == 1 else Group(messages(parts[0]), [parts[1]])


PROTOCOL = Protocol(
    name="tei",
    policy=OverloadPolicy(
        hold_seconds=0,
        deadline_seconds=60,
        full_status=429,
        why="text-embeddings-inference itself answers 429 when it is full, and its clients ask again",
    ),
    endpoints=(
        Endpoint("/predict", json_reply(predict), body=object_of(["inputs"], inputs={}, raw_scores=BOOLEAN)),
        Endpoint("/rerank", json_reply(rerank), body=object_of(["query", "texts"], query=STRING, texts=STRINGS)),
    ),
)
