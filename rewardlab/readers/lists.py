"""Lists: `{prompt, context?, responses, preferences}` with one judgement for every pair of responses."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from rewardlab.groups import Comparison, PreferenceGroup, messages
from rewardlab.readers.reader import Reader, Row, labelled, text, texts

_USED = frozenset({"prompt", "context", "responses", "preferences"})


def fits(row: Row) -> bool:
    """Say whether the row is a list of responses with judgements."""
    return {"prompt", "responses", "preferences"} <= row.keys()


def group(row: Row) -> PreferenceGroup:
    """Return the list as a group.

    A preference is `{"i", "j", "label": "i" | "j" | "tie"}`, or, for all pairs in the order (0, 1), (0, 2), ..., the
    better index or "tie". A context goes before the question in the same turn.

    Raises:
        ValueError: a judgement is of no known form or names a response that is not there.
    """
    responses, preferences = texts(row, "responses"), row.get("preferences")
    if not isinstance(preferences, list):
        raise ValueError(f"preferences is a list, got {preferences!r:.80}")
    prompt = row.get("prompt")
    if row.get("context"):
        prompt = f"Context:\n{text(row, 'context')}\n\nQuestion: {text(row, 'prompt')}"
    comparisons = _comparisons(preferences, len(responses))
    return labelled(row, messages(prompt), responses, _USED, comparisons=comparisons)


def _comparisons(preferences: list[Any], num_responses: int) -> tuple[Comparison, ...]:
    if all(isinstance(judgement, dict) for judgement in preferences):
        return tuple(_named(judgement) for judgement in preferences)
    num_pairs = num_responses * (num_responses - 1) // 2
    if len(preferences) != num_pairs:
        raise ValueError(f"{num_responses} responses make {num_pairs} pairs, got {len(preferences)} preferences")
    pairs = combinations(range(num_responses), 2)
    return tuple(_judged(i, j, better) for (i, j), better in zip(pairs, preferences, strict=True))


def _named(judgement: Mapping[str, Any]) -> Comparison:
    if judgement.keys() != {"i", "j", "label"} or not all(type(judgement[name]) is int for name in "ij"):
        raise ValueError(f"a preference is {{i, j, label}} with two indices, got {judgement!r:.80}")
    label = judgement["label"]
    return _judged(judgement["i"], judgement["j"], judgement[label] if label in ("i", "j") else label)


def _judged(i: int, j: int, better: Any) -> Comparison:
    if better == "tie":
        return Comparison(better=i, worse=j, strength=0.5)
    if type(better) is not int or better not in (i, j):
        raise ValueError(f"of responses {i} and {j} the better one is {i}, {j} or 'tie', got {better!r:.40}")
    return Comparison(better=better, worse=j if better == i else i)


READER = Reader("lists", "{prompt, context?, responses, preferences}: each pair's better index, or tie", fits, group)
