"""Make the read-out contract of a backbone from its tokenizer, and hold a policy's tokenizer against it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedTokenizerBase

from models.backbone import Kind, backbone_kind, open_tokenizer, prepare_backbone
from models.reward_model import check_pooling
from rewardlab.chat import PLAIN_TEMPLATE, check_template, render
from rewardlab.files import file_digest, read_json
from rewardlab.groups import Message
from rewardlab.layout import TOKENIZER, TOKENIZER_CONFIG
from rewardlab.readout import LENGTH_MULTIPLE, Pooling, ReadOut

_PADDED_POSITIONS = {"camembert", "mpnet", "roberta", "xlm-roberta"}
"""Families that number positions from pad id + 1."""


def build_readout(folder: Path, *, pooling: Pooling, prompt_limit: int, response_limit: int) -> ReadOut:
    """Return the read-out for a backbone's folder.

    A response ends with the first special token that the chat template writes after an assistant's message, else
    with eos; an encoder reads `[CLS] prompt [SEP] response [SEP]`.

    Raises:
        ValueError: the tokenizer lacks a token, pad is the end of turn, or the limits exceed the backbone's positions.
    """
    kind = backbone_kind(folder)
    check_pooling(pooling, kind)
    tokenizer = open_tokenizer(folder)
    if tokenizer.pad_token_id is None:
        raise ValueError(f"tokenizer has no pad token: set pad_token in {folder / TOKENIZER_CONFIG}, not eos")
    template = _template(tokenizer)
    check_template(template)
    prefix, separator, end = _fixed_tokens(tokenizer, template, kind)
    readout = ReadOut(
        kind=kind,
        template=template,
        special_tokens=_special_tokens(tokenizer),
        pad_id=tokenizer.pad_token_id,
        prompt_limit=prompt_limit,
        response_limit=response_limit,
        pooling=pooling,
        tokenizer_digest=file_digest(folder / TOKENIZER),
        prefix=prefix,
        separator=separator,
        end=end,
    )
    _check_length(readout, AutoConfig.from_pretrained(folder, trust_remote_code=False))
    return readout


def check_policy(folder: Path, policy: str, cache: Path | None = None) -> None:
    """Refuse a policy (a name as for `prepare_backbone`) that does not write the tokens this backbone reads.

    Raises:
        ValueError: vocabulary, merges, added tokens, embedding size or chat template differ; the message says which.
    """
    ours, theirs = (_identity(path) for path in (folder, prepare_backbone(policy, cache)))
    if differing := [part for part in ours if ours[part] != theirs[part]]:
        raise ValueError(
            f"the policy {policy!r} and the reward model differ in {', '.join(differing)}: rewards would be read from "
            "other tokens than the policy writes; train on the policy's own backbone or name no policy"
        )


def _template(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.get_chat_template() if tokenizer.chat_template else PLAIN_TEMPLATE


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    return {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}


def _fixed_tokens(
    tokenizer: PreTrainedTokenizerBase, template: str, kind: Kind
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the ids that the read-out puts before the prompt, between it and the response, and behind that."""
    if kind == "encoder":
        if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
            raise ValueError("the encoder's tokenizer has no cls or no sep token: set both in tokenizer_config.json")
        separator = (tokenizer.sep_token_id,)
        return (tokenizer.cls_token_id,), separator, separator
    end = _end_of_turn(tokenizer, template)
    if end is None:
        raise ValueError("the template ends no turn with a special token and the tokenizer has no eos: set eos_token")
    bos = tokenizer.bos_token_id
    starts = template == PLAIN_TEMPLATE and bos is not None and bos != tokenizer.eos_token_id
    return (bos,) if starts else (), (), (end,)


def _end_of_turn(tokenizer: PreTrainedTokenizerBase, template: str) -> int | None:
    """Return the special token that the template writes first behind a response, or else the tokenizer's eos."""
    # 1. What the template writes behind a response that is one character.
    sentinel = "\ue000"
    talk = (Message("user", "probe"), Message("assistant", sentinel))
    text = render(template, talk, special_tokens=_special_tokens(tokenizer), add_generation_prompt=False)
    behind = text.rpartition(sentinel)[2]

    # 2. The special token that stands first there; of two at one place the longer one.
    places = []
    for index, token in tokenizer.added_tokens_decoder.items():
        if token.special and token.content in behind:
            places.append((behind.index(token.content), -len(token.content), index))
    return min(places)[2] if places else tokenizer.eos_token_id


def _check_length(readout: ReadOut, config: Any) -> None:
    """Refuse limits beyond the backbone's positions or its attention window."""
    positions = getattr(config, "max_position_embeddings", None) or sys.maxsize
    if config.model_type in _PADDED_POSITIONS:
        positions -= readout.pad_id + 1
    positions -= positions % LENGTH_MULTIPLE  # padding needs positions too
    most = min(positions, getattr(config, "sliding_window", None) or positions)
    if readout.max_tokens > most:
        raise ValueError(
            f"prompt_limit {readout.prompt_limit} and response_limit {readout.response_limit} make sequences of up to "
            f"{readout.max_tokens} tokens, the backbone reads {most}: lower the limits"
        )


def _identity(folder: Path) -> Mapping[str, object]:
    """Return what two tokenizers must share to write the same tokens."""
    content = read_json(folder / TOKENIZER)
    model = content["model"]
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", ())]
    return {
        "vocabulary": model["vocab"],
        "merges": merges,
        "added tokens": sorted((token["id"], token["content"], token["special"]) for token in content["added_tokens"]),
        "vocabulary size": AutoConfig.from_pretrained(folder, trust_remote_code=False).vocab_size,
        "chat template": _template(open_tokenizer(folder)),
    }
