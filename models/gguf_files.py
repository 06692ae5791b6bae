"""Convert a GGUF file once to full-precision safetensors and a clean tokenizer."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

_CONTROL = 3
"""llama.cpp's token type of special tokens (gguf.TokenType.CONTROL)."""


def convert_gguf(source: Path, target: Path) -> None:
    """Write the model of a GGUF file as a folder of fp32 safetensors with its tokenizer.

    Raises:
        ValueError: its tokenizer is of a kind that is not known here, or weights are missing.
    """
    tokenizer = gguf_tokenizer(source)
    config = AutoConfig.from_pretrained(source.parent, gguf_file=source.name)
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    read = load_gguf_checkpoint(str(source), return_tensors=True, model_to_load=model)  # type: ignore[no-untyped-call]
    lacking = set(model.load_state_dict(read["tensors"], strict=False).missing_keys)
    lacking -= set(model._tied_weights_keys or ())
    if lacking:
        raise ValueError(f"{source.name} lacks the weights {sorted(lacking)[:5]}")
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def gguf_tokenizer(source: Path) -> PreTrainedTokenizerFast:
    """Build the tokenizer of a GGUF file from its vocabulary and merges.

    It adds no token of its own to a text, and pads with `<|endoftext|>`, since the file names the end of turn as
    padding, which would move the scored position.
    """
    from gguf import GGUFReader

    fields: dict[str, Any] = {key: field.contents() for key, field in GGUFReader(source).fields.items()}
    tokens = fields["tokenizer.ggml.tokens"]
    pad = "<|endoftext|>"
    if fields["tokenizer.ggml.model"] != "gpt2" or pad not in tokens:
        raise ValueError(f"{source.name} has a {fields['tokenizer.ggml.model']!r} tokenizer: name a converted folder")
    tokenizer = Tokenizer(
        BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=[tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]],
        )
    )
    tokenizer.pre_tokenizer = _pre_tokenizer(fields["tokenizer.ggml.pre"])
    tokenizer.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"]
    specials = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in specials])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=tokens[fields["tokenizer.ggml.bos_token_id"]],
        eos_token=tokens[fields["tokenizer.ggml.eos_token_id"]],
        pad_token=pad,
        chat_template=fields["tokenizer.chat_template"],
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=fields["llama.context_length"],
        clean_up_tokenization_spaces=False,
    )


def _pre_tokenizer(name: str) -> pre_tokenizers.PreTokenizer:
    """Return how text is cut before merging.

    "smollm" cuts single digits off first (llama.cpp, src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_SMOLLM), so that
    the blank lines before "1." are one token, as the model was trained.
    """
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), cut])
    if name in ("gpt-2", "default"):
        return cut
    raise ValueError(f"the GGUF's pre-tokenizer {name!r} is not known: name a converted folder instead")
