"""Shared fixtures: tiny random backbones, made once a session, and no network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for conversions, empty at first."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_folder(cache: Path) -> Path:
    """Return the backbone "tiny": a 2-layer Llama with a byte tokenizer and a ChatML template."""
    from models.backbone import prepare_backbone

    return prepare_backbone("tiny", cache)


@pytest.fixture(scope="session")
def encoder_folder(cache: Path) -> Path:
    """Return the backbone "tiny-encoder": a 2-layer BERT with a byte tokenizer and no template."""
    from models.backbone import prepare_backbone

    return prepare_backbone("tiny-encoder", cache)


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny GPT-2: learned positions, no template, eos as bos, and a pad token of its own."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from models.tiny import byte_tokenizer

    folder = tmp_path_factory.mktemp("gpt2")
    pad, eos = specials = ("<|pad|>", "<|endoftext|>")
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}
    GPT2LMHeadModel(GPT2Config(vocab_size=258, bos_token_id=1, eos_token_id=1, **sizes)).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(specials), pad_token=pad, bos_token=eos, eos_token=eos
    ).save_pretrained(folder)
    return folder


@pytest.fixture(params=["tiny_folder", "encoder_folder", "gpt2_folder"])
def any_folder(request: pytest.FixtureRequest) -> Path:
    """Return each of the tiny backbones in turn."""
    folder: Path = request.getfixturevalue(request.param)
    return folder
