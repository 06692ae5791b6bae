"""What a policy makes of a response: the log-probabilities that a causal language model gives its tokens."""

import copy
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from models.backbone import backbone_kind, load_quietly
from rewardlab.files import file_digest
from rewardlab.tokens import TokenTree


class Policy:
    """A causal language model in fp32, which reads one response at a time so that nothing beside it can matter.

    Raises:
        ValueError: the folder holds an encoder, a model without its language-model head, or another tokenizer.
    """

    def __init__(self, folder: Path, *, tokenizer_digest: str) -> None:
        if backbone_kind(folder) == "encoder":
            raise ValueError("an encoder gives texts no probability")
        if file_digest(folder / "tokenizer.json") != tokenizer_digest:
            raise ValueError(f"the policy in {folder} has another tokenizer than the reward model")
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        self._model, lacking = load_quietly(folder, config, torch.float32, kind=AutoModelForCausalLM)
        if lacking:
            raise ValueError(f"the policy in {folder} lacks {', '.join(sorted(lacking)[:5])}: it cannot speak")
        self._model.train(False)

    @torch.no_grad()
    def log_probabilities(self, tree: TokenTree) -> list[list[float]]:
        """Return log P(token | prompt and the tokens before), in nats, of each response's tokens, its end included."""
        read = self._model(torch.tensor([tree.prompt]), use_cache=True, logits_to_keep=1)
        found = []
        for response in tree.responses:
            ids_T = torch.tensor(response)
            later = self._model(ids_T[None], past_key_values=copy.deepcopy(read.past_key_values), use_cache=True)
            logits_TV = torch.cat([read.logits[0, -1:], later.logits[0, :-1]])
            found.append(logits_TV.log_softmax(dim=-1).gather(1, ids_T[:, None])[:, 0].tolist())
        return found
