"""What each dialect's clients survive, and so how the server treats them when it is full: docs/reference/faults.md."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Manners:
    """How the requests of one dialect are held, shed, timed and refused.

    A request that finds the queue full is held up to `hold_seconds`, then answered `full_status` with a Retry-After.
    Whatever it waits for, it is answered 504 after `deadline_seconds`. One that cannot be scored is told so with
    `refusal_status`. `why` is what the dialect's client does, which decides all of these.
    """

    hold_seconds: float
    deadline_seconds: float
    full_status: int = 503
    refusal_status: int = 422
    why: str


MANNERS = {
    "native": Manners(
        hold_seconds=20,
        deadline_seconds=55,
        why="RemoteReward gives up after 60 s; until then it asks again after 503 and 504",
    ),
    "stream": Manners(
        hold_seconds=3600,
        deadline_seconds=3600,
        why="a stream's body is read no further while its lines wait, and so its client waits too",
    ),
    "openrlhf": Manners(
        hold_seconds=165,
        deadline_seconds=170,
        why="gives up after 180 s and five tries, then goes on with no reward and says nothing",
    ),
    "verl": Manners(
        hold_seconds=280,
        deadline_seconds=300,
        why="has no timeout and asks again 16 times after 5xx; any 4xx ends the training step",
    ),
    "vllm": Manners(
        hold_seconds=0,
        deadline_seconds=120,
        why="vLLM itself answers 503 when its queue is full",
    ),
    "sglang": Manners(
        hold_seconds=0,
        deadline_seconds=120,
        why="SGLang itself answers 503 when its queue is full",
    ),
    "slime": Manners(
        hold_seconds=90,
        deadline_seconds=110,
        why="gives up after 120 s in all; asks again 10 times, with growing waits, after anything",
    ),
    "llamafactory": Manners(
        hold_seconds=3600,
        deadline_seconds=3600,
        why="has no timeout, looks at no status and never asks again: an error ends the training",
    ),
    "nemo": Manners(
        hold_seconds=280,
        deadline_seconds=300,
        why="pytriton's client waits and never asks again: an error ends the training",
    ),
    "oip": Manners(
        hold_seconds=0,
        deadline_seconds=60,
        refusal_status=400,
        why="gateways ask another replica after 503",
    ),
    "kserve": Manners(
        hold_seconds=0,
        deadline_seconds=60,
        refusal_status=400,
        why="gateways ask another replica after 503",
    ),
    "tei": Manners(
        hold_seconds=0,
        deadline_seconds=60,
        full_status=429,
        why="text-embeddings-inference itself answers 429 when it is full, and its clients ask again",
    ),
}
