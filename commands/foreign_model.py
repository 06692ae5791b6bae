"""Reward models that are not ours: any sequence classifier of one logit, a folder or hub id, scored with torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardlab.groups import PreferenceGroup, prompt_text
from rewardlab.layout import BACKBONE_CONFIG, MANIFEST
from steps.common.progress import progress
from steps.common.scores import Rewards


def is_foreign(reference: str) -> bool:
    """Say whether a reference names a transformers folder, or a hub id such as `org/name`, rather than a bundle."""
    folder = Path(reference)
    if folder.is_dir():
        return (folder / BACKBONE_CONFIG).is_file() and not (folder / MANIFEST).is_file()
    return reference.count("/") == 1 and not reference.startswith((".", "/", "models:"))


def foreign_rewards(reference: str, groups: Sequence[PreferenceGroup]) -> Rewards:
    """Return the logit of each response, one response at a time so that no padding can change it.

    A conversation is written with the tokenizer's chat template, without a second first token; where it has none,
    prompt and response are the two texts of a pair. What is too long is cut on the left, so that the scored end stays.

    Raises:
        ValueError: the model has more than one logit, holds no safetensors, or is not there.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(reference)  # type: ignore[no-untyped-call]
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            reference, use_safetensors=True, dtype=torch.float32
        )
    except OSError as error:
        raise ValueError(
            f"{reference} cannot be opened as a sequence classifier: {str(error).splitlines()[0]}"
        ) from error
    if model.config.num_labels != 1:
        raise ValueError(f"a reward model has one logit, {reference} has {model.config.num_labels}")
    tokenizer.truncation_side = "left"
    model.eval()
    rewards = []
    with torch.no_grad(), progress(sum(len(each.responses) for each in groups), "score", unit="responses") as bar:
        for group in groups:
            inputs = [_inputs(tokenizer, model, group, response) for response in group.responses]
            rewards.append([float(model(**each).logits[0, 0]) for each in inputs])
            bar.update(len(group.responses))
    return rewards


def _inputs(tokenizer: Any, model: Any, group: PreferenceGroup, response: str) -> Any:
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 10**9))
    limits = {"return_tensors": "pt", "truncation": True, "max_length": longest}
    if tokenizer.chat_template is None:
        return tokenizer(prompt_text(group.prompt), response, **limits)
    turns = [{"role": turn.role, "content": turn.content} for turn in group.prompt]
    text = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": response}], tokenize=False)
    doubled = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    return tokenizer(text, add_special_tokens=not doubled, **limits)
