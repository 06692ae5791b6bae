"""What a model that does not read could go by: features of a response and of its overlap with the prompt."""

import re

import numpy as np

from rewardlab.groups import prompt_text

_WORD, _NUMBER = re.compile(r"\w+"), re.compile(r"\d+")
_FORMATS = ("\n", "- ", "**", "{", '"', ".", ",", "!", "?", ":")


def pair_features(group):
    """Yield `(features, outcome)` for each pair of responses with different gold scores, in both directions."""
    asked, gold = prompt_text(group.prompt), group.scores["gold"]
    about = _formats(asked)
    rows = [_features(asked, response) for response in group.responses]
    for i in range(len(rows)):
        for j in range(len(rows)):
            if gold[i] != gold[j]:
                yield np.concatenate([rows[i] - rows[j], about]), gold[i] > gold[j]


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
