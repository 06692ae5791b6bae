"""verl's reward loop (`verl/experimental/reward_loop/reward_loop.py`, 0.9.1), which asks vLLM or SGLang."""

from starlette.routing import Route

from serving.desk import Desk
from serving.protocols import sglang, vllm


def routes(desk: Desk) -> list[Route]:
    """Return the two routes that verl asks, under the manners that verl survives."""
    return [desk.post("/classify", vllm.classify), desk.post("/v1/embeddings", sglang.embeddings)]
