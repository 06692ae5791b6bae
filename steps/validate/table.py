"""Preference groups as a flat table, one row each: what the expectations are about."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewardlab.groups import Comparison, Message, PreferenceGroup, prompt_text
from rewardlab.readers.reader import content_id

if TYPE_CHECKING:
    import pandas as pd

_MARKER = re.compile(r"(?:^|\n\n)(?:Human|Assistant):|<\|im_start\|>|<\|start_header_id\|>")
_UNCLEAN = re.compile("[\0\ufffd]")


def flatten(groups: Sequence[PreferenceGroup]) -> "pd.DataFrame":
    """Return one row per group, in order; `row` is its number."""
    import pandas as pd

    seen: dict[tuple[Any, ...], int] = {}
    said: dict[tuple[Any, ...], str] = {}
    rows = []
    for number, group in enumerate(groups):
        row = {"row": number, **_texts(group), **_labels(group)}
        row["copies_before"] = _count(seen, _contents(group))
        row["contradicts"] = _contradicts(said, group)
        rows.append(row)
    return pd.DataFrame(rows)


def _texts(group: PreferenceGroup) -> dict[str, Any]:
    lengths = [len(response.strip()) for response in group.responses]
    everything = (*group.responses, *(turn.content for turn in group.prompt))
    return {
        "id": group.id,
        "num_responses": len(group.responses),
        "prompt_characters": sum(len(turn.content.strip()) for turn in group.prompt),
        "shortest_turn": min(len(turn.content.strip()) for turn in group.prompt),
        "shortest_response": min(lengths),
        "longest_response": max(lengths),
        "roles_alternate": _alternate(group.prompt),
        "last_role": group.prompt[-1].role,
        "responses_distinct": len(set(group.responses)) == len(group.responses),
        "unclean_characters": sum(len(_UNCLEAN.findall(text)) for text in everything),
        "turn_markers": sum(len(_MARKER.findall(text)) for text in group.responses),
        "prompt_key": content_id(group.prompt, ()),
    }


def _labels(group: PreferenceGroup) -> dict[str, Any]:
    strengths = [entry.strength for entry in group.comparisons]
    ratings = [rating for aspect in group.scores.values() for rating in aspect]
    pairs = [
        (entry.aspect, min(entry.better, entry.worse), max(entry.better, entry.worse)) for entry in group.comparisons
    ]
    decided = [_longer(group, entry) for entry in group.comparisons if entry.strength > 0.5]
    longer = [share for share in decided if share is not None]
    return {
        "labelled": bool(group.comparisons or group.scores),
        "lowest_strength": min(strengths, default=None),
        "highest_strength": max(strengths, default=None),
        "lowest_score": min(ratings, default=None),
        "highest_score": max(ratings, default=None),
        "repeated_pairs": len(pairs) - len(set(pairs)),
        "tie_share": strengths.count(0.5) / len(strengths) if strengths else None,
        "longer_wins": sum(longer) / len(longer) if longer else None,
    }


def _longer(group: PreferenceGroup, entry: Comparison) -> float | None:
    better, worse = len(group.responses[entry.better]), len(group.responses[entry.worse])
    return None if better == worse else float(better > worse)


def _alternate(prompt: Sequence[Message]) -> bool:
    """Say whether, after an optional system turn, user and assistant take turns, the user first."""
    roles = [turn.role for turn in prompt if turn.role != "tool"]
    roles = roles[1:] if roles[0:1] == ["system"] else roles
    return all(role == ("user", "assistant")[at % 2] for at, role in enumerate(roles))


def _contents(group: PreferenceGroup) -> tuple[Any, ...]:
    """Return what makes two rows the same: prompt, responses in any order, and labels."""
    texts = group.responses
    labels = {(texts[entry.better], texts[entry.worse], entry.strength, entry.aspect) for entry in group.comparisons}
    rated = {
        (aspect, text, rating) for aspect, row in group.scores.items() for text, rating in zip(texts, row, strict=True)
    }
    return prompt_text(group.prompt), tuple(sorted(texts)), frozenset(labels), frozenset(rated)


def _count(seen: dict[tuple[Any, ...], int], key: tuple[Any, ...]) -> int:
    seen[key] = seen.get(key, 0) + 1
    return seen[key] - 1


def _contradicts(said: dict[tuple[Any, ...], str], group: PreferenceGroup) -> int:
    """Say whether an earlier row preferred the other one of the same two responses to the same prompt."""
    prompt, texts, against = prompt_text(group.prompt), group.responses, 0
    for entry in group.comparisons:
        if entry.strength > 0.5:
            better, worse = texts[entry.better], texts[entry.worse]
            key = (prompt, entry.aspect, *sorted((better, worse)))
            against |= said.setdefault(key, better) != better
    return int(against)
