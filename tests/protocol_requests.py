"""The smallest request of each wire protocol, and where its answer holds the reward."""

from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request that asks for the reward of the response "a" to the prompt "Hi" from the model `small`.

    `WHOLE` in the body stands for the rendered conversation. `reward_at` leads through the answer to the reward.
    """

    path: str
    body: Any
    reward_at: tuple[str | int, ...] = ()

    def reward(self, answer: Any) -> float:
        """Return the reward in an answer."""
        return float(reduce(getitem, self.reward_at, answer))


def _tensor(name: str, text: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [1, *shape], "data": [text]}


REQUESTS = {
    "native": Request("/v1/rewards", {"prompt": "Hi", "responses": ["a"]}, ("rewards", 0)),
    "stream": Request("/v1/rewards", {"prompt": "Hi", "responses": ["a"]}, ("rewards", 0)),
    "openrlhf": Request("/openrlhf/get_reward", {"query": ["WHOLE"]}, ("rewards", 0)),
    "verl": Request("/verl/classify", {"input": "WHOLE"}, ("data", 0, "probs", 0)),
    "vllm": Request("/vllm/classify", {"input": "WHOLE"}, ("data", 0, "probs", 0)),
    "sglang": Request("/sglang/classify", {"text": "WHOLE"}, ("embedding", 0)),
    "slime": Request("/slime/rm", {"prompt": "Hi", "response": "a"}),
    "llamafactory": Request("/llamafactory/v1/score/evaluation", {"messages": ["WHOLE"]}, ("scores", 0)),
    "nemo": Request(
        "/nemo/v2/models/reward_model/infer", {"inputs": [_tensor("sentences", "WHOLE", 1)]}, ("outputs", 0, "data", 0)
    ),
    "oip": Request(
        "/v2/models/small/infer",
        {"inputs": [_tensor("prompt", "Hi"), _tensor("responses", "a")]},
        ("outputs", 0, "data", 0),
    ),
    "kserve": Request(
        "/v1/models/small:predict", {"instances": [{"prompt": "Hi", "responses": ["a"]}]}, ("predictions", 0, 0)
    ),
    "tei": Request("/tei/predict", {"inputs": [["Hi", "a"]]}, (0, 0, "score")),
}
