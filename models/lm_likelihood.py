"""What a policy makes of a response: the log-probabilities that a causal language model gives its tokens.

Shapes: R tokens of some responses, V tokens that the model knows.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from models.backbone import backbone_kind, load_quietly
from models.batches import TokenGroup
from models.tree_attention import inputs
from models.tree_masks import Row
from models.tree_support import share_prompts
from models.trees import lay_out
from rewardlab.files import file_digest
from rewardlab.layout import TOKENIZER
from rewardlab.tokens import TokenTree

Ids = tuple[int, ...]

_PARCEL = 1024
"""Tokens of responses that are read beside each other: each has a row of logits as wide as the vocabulary."""


class Policy:
    """A causal language model in fp32, which reads one tree at a time so that nothing beside it can matter.

    Raises:
        ValueError: the folder holds an encoder, a model without its language-model head, or another tokenizer.
    """

    def __init__(self, folder: Path, *, tokenizer_digest: str) -> None:
        if backbone_kind(folder) == "encoder":
            raise ValueError("an encoder gives texts no probability")
        if file_digest(folder / TOKENIZER) != tokenizer_digest:
            raise ValueError(f"the policy in {folder} has another tokenizer than the reward model")
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        config.use_cache = False
        self._model, lacking = load_quietly(folder, config, torch.float32, kind=AutoModelForCausalLM)
        if lacking:
            raise ValueError(f"the policy in {folder} lacks {', '.join(sorted(lacking)[:5])}: it cannot speak")
        self._model.train(False)
        self._shares = not share_prompts(self._model)

    @torch.no_grad()
    def log_probabilities(self, tree: TokenTree) -> list[list[float]]:
        """Return log P(token | prompt and the tokens before), in nats, of each response's tokens, its end included.

        The same response twice is read once, and in whatever order responses are given they are read in one.
        """
        found: dict[Ids, list[float]] = {}
        for parcel in _parcels(sorted(set(tree.responses))):
            ids_R = torch.tensor([token for response in parcel for token in response])
            logits_RV = self._together(tree.prompt, parcel) if self._shares else self._apart(tree.prompt, parcel)
            given_R = logits_RV.log_softmax(dim=1).gather(1, ids_R[:, None])[:, 0]
            by_response = torch.split(given_R, [len(each) for each in parcel])
            found |= zip(parcel, map(Tensor.tolist, by_response), strict=True)
        return [found[response] for response in tree.responses]

    def _together(self, prompt: Ids, responses: Iterable[Ids]) -> Tensor:
        """Return the logits that each token of the responses is drawn by, logits_RV; the prompt is read once."""
        ids = [np.array(each, np.int32) for each in (prompt, *responses)]
        batch = lay_out([TokenGroup(id="", prompt=ids[0], responses=tuple(ids[1:]))])
        before = [
            place_L[len(prompt) - 1 : length - 1]
            for place_L, length in zip(batch.places_BL, batch.lengths_B.tolist(), strict=True)
        ]
        row = Row(batch.trees, batch.ids_T.device)
        logits_RV: Tensor = self._model(**inputs(batch, row), logits_to_keep=torch.cat(before)).logits[0]
        return logits_RV

    def _apart(self, prompt: Ids, responses: Iterable[Ids]) -> Tensor:
        """Return the same of a model that reads no trees: the prompt is read before each response."""
        rows = (
            self._model(torch.tensor([prompt + each]), logits_to_keep=len(each) + 1).logits[0, :-1]
            for each in responses
        )
        return torch.cat(list(rows))


def _parcels(responses: list[Ids]) -> Iterator[list[Ids]]:
    """Cut a list into pieces of about `_PARCEL` tokens."""
    ends = accumulate(map(len, responses))
    for _, part in groupby(zip(responses, ends, strict=True), key=lambda each: each[1] // _PARCEL):
        yield [response for response, _ in part]
