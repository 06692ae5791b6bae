"""verl's reward loop (`verl/experimental/reward_loop/reward_loop.py`, 0.9.1), which asks vLLM or SGLang."""

from serving.admission import OverloadPolicy
from serving.fields import BOOLEAN, STRING, TEXTS, object_of
from serving.protocol import Endpoint, Protocol, json_reply
from serving.protocols import sglang, vllm

PROTOCOL = Protocol(
    name="verl",
    policy=OverloadPolicy(
        hold_seconds=280,
        deadline_seconds=300,
        why="has no timeout and asks again 16 times after 5xx; any 4xx ends the training step",
    ),
    endpoints=(
        Endpoint(
            "/classify",
            json_reply(vllm.classify),
            body=object_of(["input"], input=TEXTS, model=STRING, use_activation=BOOLEAN),
        ),
        Endpoint("/v1/embeddings", json_reply(sglang.embeddings), body=object_of(["input"], input=TEXTS, model=STRING)),
    ),
)
