"""The policy's log-probabilities: those that transformers gives each response alone, whatever else is in the tree."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from models import lm_likelihood
from models.lm_likelihood import Policy
from rewardlab.files import file_digest
from rewardlab.tokens import TokenTree

SHAPE = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
FAMILIES = {
    "Llama": {**SHAPE, "num_key_value_heads": 2},
    "Qwen2": {**SHAPE, "num_key_value_heads": 4},
    "Granite": {**SHAPE, "logits_scaling": 3.0},
    "Cohere": {**SHAPE, "logit_scale": 0.5},
    "GPT2": {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "Falcon": {**SHAPE, "num_hidden_layers": 1},
}
PROMPT = (5, 1, 7, 7, 2)
RESPONSES = ((3, 4, 5, 2), (9, 2), (3, 4, 6, 8, 1, 2), (9, 2))


def _policy(folder: Path, family: str) -> Policy:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**FAMILIES[family])
    kind = transformers.GPT2LMHeadModel if family == "GPT2" else getattr(transformers, f"{family}ForCausalLM")
    model = kind._from_config(config)
    with torch.no_grad():
        for value in model.parameters():  # so far from 0 that each token tells
            value.normal_(std=0.2) if value.ndim == 2 else value.add_(0.1 * torch.randn_like(value))
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    return Policy(folder, tokenizer_digest=file_digest(folder / "tokenizer.json"))


def _tree(*responses: tuple[int, ...]) -> TokenTree:
    return TokenTree(PROMPT, responses, (False,) * len(responses))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_token_has_the_log_probability_that_transformers_gives_it(family: str, tmp_path: Path) -> None:
    found = _policy(tmp_path, family).log_probabilities(_tree(*RESPONSES))
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    for response, given in zip(RESPONSES, found, strict=True):
        rows = model(torch.tensor([PROMPT + response])).logits[0].log_softmax(dim=-1)
        wanted = [rows[len(PROMPT) + at - 1, token].item() for at, token in enumerate(response)]
        np.testing.assert_allclose(given, wanted, atol=1e-5)


@pytest.mark.parametrize(("family", "num"), [("Llama", 5 + 4 + 2 + 6), ("Falcon", 3 * 5 + 4 + 2 + 6)])
def test_a_prompt_is_read_once_where_that_is_exact(family: str, num: int, tmp_path: Path) -> None:
    policy, sizes = _policy(tmp_path, family), []
    embedding = policy._model.get_input_embeddings()
    embedding.register_forward_hook(lambda _module, given, _out: sizes.append(given[0].numel()))
    policy.log_probabilities(_tree(*RESPONSES))
    assert sum(sizes) == num


def test_order_and_repetition_change_not_a_bit(tmp_path: Path) -> None:
    policy = _policy(tmp_path, "Llama")
    found = policy.log_probabilities(_tree(*RESPONSES))
    assert found[1] == found[3]
    assert policy.log_probabilities(_tree(*RESPONSES[::-1])) == found[::-1]


def test_many_responses_are_read_in_parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = _policy(tmp_path, "Llama")
    found = policy.log_probabilities(_tree(*RESPONSES))
    monkeypatch.setattr(lm_likelihood, "_PARCEL", 5)
    for given, wanted in zip(policy.log_probabilities(_tree(*RESPONSES)), found, strict=True):
        np.testing.assert_allclose(given, wanted, atol=1e-5)
