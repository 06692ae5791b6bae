"""Tiny random backbones: whole pipelines run on them in seconds, offline and with the same bytes every time."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedModel, PreTrainedTokenizerFast

CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""SmolLM2's template without its default system prompt."""

_WORDS = """
a about after again all also always am an and another answer any are as ask at away back be because been before best
better between big both bring but by call came can cannot care case change child city come correct could country day did
different do does down each early end enough even every example explain far find first follow for found from full garden
gave get give go good great had hand harm hard has have he head help her here high him his home house how hurt i idea if
important in into is it its just keep kept kind know large last later learn left less let letter life like line list
little live long look lower made make man many market may me mean might money more morning most move much must my name
near need never new next night no not now number of off office old on one only open or other our out over own page part
people place please point possible problem put question quiet reason red repeat right river room safe said same say
school second see seem sentence sentences she short should show side since small so some soon sorry start state still
stop story such sum sure take talk tell than thank that the their them then there these they thing think this those
three through time to together told too took town tree turn two under until up upper us use used very wait walk want was
water way we well went were what when where which while white who whole why will window with without word words work
world would write year yes yet you young your
"""
"""Common English words, spelled by merges: sequences get about three times shorter, and tiny models learn sooner."""

_WIDTH = 64
_SHAPE = {
    "hidden_size": _WIDTH,
    "initializer_range": 0.1,  # at transformers' 0.02 so narrow a model needs hundreds of steps before it learns at all
    "intermediate_size": 4 * _WIDTH,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
}


def write_tiny(name: str, target: Path) -> None:
    """Write the seeded backbone `tiny` (2-layer Llama) or `tiny-encoder` (2-layer BERT), both of width 64."""
    tokenizer = _chat_tokenizer() if name == "tiny" else _encoder_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _llama(len(tokenizer)) if name == "tiny" else _bert(len(tokenizer))
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def byte_tokenizer(specials: tuple[str, ...], words: str = "") -> Tokenizer:
    """Return a tokenizer with the special tokens first, then one token per byte, then merges that spell the words."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [(word[:end], word[end]) for word in map("\u0120".__add__, words.split()) for end in range(1, len(word))]
    merges = list(dict.fromkeys(merges))
    vocabulary = {token: index for index, token in enumerate((*specials, *letters, *map("".join, merges)))}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(specials))
    return tokenizer


def _chat_tokenizer() -> PreTrainedTokenizerFast:
    pad, start, end = specials = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=byte_tokenizer(specials, _WORDS),
        pad_token=pad,
        bos_token=start,
        eos_token=end,
        chat_template=CHATML_TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def _encoder_tokenizer() -> PreTrainedTokenizerFast:
    pad, start, end = specials = ("[PAD]", "[CLS]", "[SEP]")
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=byte_tokenizer(specials),
        pad_token=pad,
        cls_token=start,
        sep_token=end,
        clean_up_tokenization_spaces=False,
    )


def _llama(num_tokens: int) -> PreTrainedModel:
    config = LlamaConfig(  # type: ignore[no-untyped-call]
        **_SHAPE,
        vocab_size=num_tokens,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    return LlamaModel(config)


def _bert(num_tokens: int) -> PreTrainedModel:
    config = BertConfig(**_SHAPE, vocab_size=num_tokens, max_position_embeddings=512)  # type: ignore[no-untyped-call]
    return BertModel(config)  # type: ignore[no-untyped-call]
