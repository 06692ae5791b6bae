"""Preference groups as a table of numbers, one row each: what the expectations are about."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rewardlab.config import canonical_json
from rewardlab.files import parse_group
from rewardlab.groups import ROLES, Comparison, Message, PreferenceGroup, prompt_text
from rewardlab.readers.reader import content_id
from rewardlab.text import key64
from steps.validate.agreement import NUM_VERDICTS, Matrix, alpha, coincidences, has_cycle, turncoats, verdicts
from steps.validate.personal import personal_data

if TYPE_CHECKING:
    import pandas as pd

_MARKER = re.compile(r"(?:^|\n\n)(?:Human|Assistant):|<\|im_start\|>|<\|start_header_id\|>")
_MARKS = ("Human:", "Assistant:", "<|")
"""One of these is in every turn marker; to look for them first is ten times as fast."""
_COUNTS = ("id_characters", "num_responses", "prompt_characters", "shortest_turn", "shortest_response")
_MORE_COUNTS = ("longest_response", "unclean_characters", "turn_markers", "repeated_pairs", "num_claims")
_SHARES = ("personal", "cycles", "turncoats")
_NUMBERS = ("lowest_strength", "highest_strength", "lowest_score", "highest_score", "tie_share", "longer_wins")
_ROW = np.dtype(
    [(name, "<u8") for name in ("id", "prompt_key", "contents")]
    + [(name, "<i4") for name in (*_COUNTS, *_MORE_COUNTS, *_SHARES)]
    + [(name, "?") for name in ("roles_alternate", "responses_distinct", "labelled")]
    + [(name, "<f8") for name in _NUMBERS]
    + [("last_role", "<i1")]
)


@dataclass(frozen=True, slots=True)
class Flat:
    """A chunk of groups: 128 bytes for each, and 8 for each comparison that is no tie.

    `rows` holds 64-bit hashes of id, prompt and contents, NaN where there is nothing to measure, and how many `claims`
    are the row's: hashes of prompt, aspect and two responses, whose last bit says which of these was preferred.
    `verdicts` counts how the annotators' votes on the same two responses coincide.
    """

    rows: npt.NDArray[np.void]
    claims: npt.NDArray[np.uint64]
    verdicts: Matrix


def flatten(lines: Sequence[bytes]) -> Flat:
    """Return the rows of a chunk of groups; whatever the chunks, their rows are the same."""
    rows, claims, units = [], [], []
    for line in lines:
        group = parse_group(line)
        texts = {text: key64(text) for text in group.responses}
        prompt = key64(prompt_text(group.prompt))
        claimed = _claims(group, prompt, texts)
        hashes = {"id": key64(group.id), "contents": _contents(group, prompt, texts), "num_claims": len(claimed)}
        row = {**hashes, **_texts(group), **_labels(group)}
        rows.append(tuple(row[name] for name in _ROW.names or ()))
        claims += claimed
        units += verdicts(group)
    verdict = coincidences(units, NUM_VERDICTS)
    return Flat(np.array(rows, dtype=_ROW), np.array(claims, dtype=np.uint64), verdict)


def join(chunks: Iterable[Flat]) -> "pd.DataFrame":
    """Return the table of all rows: what a row is next to others, such as a copy of an earlier one, is found here."""
    import pandas as pd

    flat = list(chunks)
    rows = np.concatenate([chunk.rows for chunk in flat])
    claims = np.concatenate([chunk.claims for chunk in flat])
    agreement = alpha(sum((chunk.verdicts for chunk in flat), np.zeros((NUM_VERDICTS, NUM_VERDICTS))))
    flat.clear()
    columns: dict[str, object] = {
        name: rows[name] for name in rows.dtype.names or () if name not in ("contents", "num_claims")
    }
    columns["last_role"] = pd.Categorical.from_codes(rows["last_role"], pd.Index(ROLES))
    contents = pd.Series(rows["contents"])
    columns["copies_before"] = contents.groupby(contents).cumcount().to_numpy()
    columns["contradicts"] = _contradicts(claims, rows["num_claims"])
    columns["agreement"] = np.full(len(rows), np.nan if agreement is None else agreement)
    return pd.DataFrame(columns)


def _texts(group: PreferenceGroup) -> dict[str, object]:
    lengths = [len(response.strip()) for response in group.responses]
    turns = [len(turn.content.strip()) for turn in group.prompt]
    everything = (*group.responses, *(turn.content for turn in group.prompt))
    return {
        "id_characters": len(group.id),
        "num_responses": len(group.responses),
        "prompt_characters": sum(turns),
        "shortest_turn": min(turns),
        "shortest_response": min(lengths),
        "longest_response": max(lengths),
        "roles_alternate": _alternate(group.prompt),
        "last_role": ROLES.index(group.prompt[-1].role),
        "responses_distinct": len(set(group.responses)) == len(group.responses),
        "unclean_characters": sum(text.count("\0") + text.count("\ufffd") for text in everything),
        "turn_markers": sum(map(_num_markers, group.responses)),
        "personal": any(map(personal_data, everything)),
        "prompt_key": int(content_id(group.prompt, ()), 16),
    }


def _num_markers(text: str) -> int:
    return len(_MARKER.findall(text)) if any(mark in text for mark in _MARKS) else 0


def _labels(group: PreferenceGroup) -> dict[str, object]:
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
        "cycles": has_cycle(group),
        "turncoats": turncoats(group) > 0,
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


def _contents(group: PreferenceGroup, prompt: int, texts: dict[str, int]) -> int:
    """Hash what makes two rows the same: prompt, responses in any order, and labels."""
    keys = [texts[response] for response in group.responses]
    labels = {(keys[each.better], keys[each.worse], float(each.strength), each.aspect) for each in group.comparisons}
    rated = {
        (aspect, key, rating) for aspect, row in group.scores.items() for key, rating in zip(keys, row, strict=True)
    }
    return key64(canonical_json([prompt, sorted(keys), sorted(map(canonical_json, labels)), sorted(rated)]))


def _claims(group: PreferenceGroup, prompt: int, texts: dict[str, int]) -> list[int]:
    """Return a hash for each comparison that is no tie; the last bit says which of the two was preferred."""
    claims = []
    for entry in group.comparisons:
        if entry.strength > 0.5:
            better, worse = texts[group.responses[entry.better]], texts[group.responses[entry.worse]]
            key = key64(canonical_json([prompt, entry.aspect, *sorted((better, worse))]))
            claims.append(key >> 1 << 1 | (better > worse))
    return claims


def _contradicts(claims: npt.NDArray[np.uint64], counts: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Say of each row whether an earlier one preferred the other one of the same two responses to the same prompt."""
    import pandas as pd

    sides = pd.Series(claims & np.uint64(1))
    against = sides.to_numpy() != sides.groupby(claims >> np.uint64(1)).transform("first").to_numpy()
    found = np.zeros(len(counts), dtype=np.int32)
    found[np.repeat(np.arange(len(counts)), counts)[against]] = 1
    return found
