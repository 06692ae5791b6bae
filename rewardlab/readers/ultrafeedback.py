"""UltraFeedback: `{instruction, completions: [{response, annotations, overall_score}]}` (Cui et al. 2023)."""

from collections.abc import Mapping
from typing import Any

from rewardlab.groups import PreferenceGroup
from rewardlab.readers.reader import Reader, Row, by_rating, conversation, labelled, number, text

_USED = frozenset({"instruction", "completions", "models"})


def fits(row: Row) -> bool:
    """Say whether the row has an instruction and completions with responses."""
    completions = row.get("completions")
    return (
        "instruction" in row
        and isinstance(completions, list)
        and all(isinstance(entry, dict) and "response" in entry for entry in completions)
    )


def group(row: Row) -> PreferenceGroup:
    """Return the responses with the ratings that all of them have; `overall_score` says which is better.

    Where it is missing, the mean of the other ratings does.

    Raises:
        ValueError: a column is missing, or no rating is there for all responses.
    """
    completions = row.get("completions")
    if not isinstance(completions, list) or not all(isinstance(entry, dict) for entry in completions):
        raise ValueError(f"completions is a list of {{response, annotations}}, got {completions!r:.80}")
    prompt, responses = conversation(row.get("instruction")), tuple(text(entry, "response") for entry in completions)
    rated = [_ratings(entry) for entry in completions]
    aspects = sorted(set.intersection(*map(set, rated))) if rated else []
    if not aspects:
        raise ValueError("no rating is there for all completions")
    scores = {aspect: tuple(each[aspect] for each in rated) for aspect in aspects}
    decisive = scores.get("overall") or [sum(each) for each in zip(*scores.values(), strict=True)]
    return labelled(row, prompt, responses, _USED, comparisons=by_rating(decisive), scores=scores)


def _ratings(completion: Mapping[str, object]) -> dict[str, float]:
    """Return the numbers among a completion's ratings; "N/A" is none."""
    found: dict[str, object] = {"overall": completion.get("overall_score")}
    annotations = completion.get("annotations")
    for aspect, annotation in annotations.items() if isinstance(annotations, dict) else ():
        found[aspect] = annotation.get("Rating") if isinstance(annotation, dict) else None
    rated = {aspect: _rating(value) for aspect, value in found.items()}
    return {aspect: rating for aspect, rating in rated.items() if rating is not None}


def _rating(value: Any) -> float | None:
    try:
        return number({"Rating": value}, "Rating")
    except ValueError:
        return None


READER = Reader(
    "ultrafeedback", "{instruction, completions: [{response, annotations, overall_score}]}: UltraFeedback", fits, group
)
