"""Label Studio's JSON export of a pairwise project: `{data, annotations: [{result: [{type: "pairwise", ...}]}]}`."""

from collections.abc import Iterator, Mapping
from typing import Any

from rewardlab.groups import Comparison, PreferenceGroup
from rewardlab.readers.reader import Reader, Row, conversation, labelled, reply
from rewardlab.readers.votes import aggregate

_ASKED = ("prompt", "question", "instruction", "text")


def fits(row: Row) -> bool:
    """Say whether the row is a task with annotations, one of them pairwise."""
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list) and any(_results(row))


def group(row: Row) -> PreferenceGroup:
    """Return the task as a pair: each annotation that was not cancelled is a vote.

    `to_name` names the two columns of `data` that were compared, left and right.

    Raises:
        ValueError: nobody compared, or the compared columns or the prompt are not in the data.
    """
    found = list(_results(row))
    if not found:
        raise ValueError("no annotation holds a pairwise result")
    data, sides = row.get("data"), str(found[0][1].get("to_name")).split(",")
    if not isinstance(data, dict):
        raise ValueError(f"data is an object, got {data!r:.80}")
    asked = next((name for name in _ASKED if data.get(name) and name not in sides), None)
    if len(sides) != 2 or not all(side in data for side in sides) or asked is None:
        raise ValueError(f"data holds the prompt and what to_name names ({', '.join(sides)}), got {', '.join(data)}")
    prompt, responses = conversation(data[asked]), tuple(reply(data[side], side) for side in sides)
    votes = tuple(_vote(annotation, result) for annotation, result in found)
    identified, used = {**data, "id": row.get("id")}, frozenset({asked, *sides})
    return labelled(identified, prompt, responses, used, comparisons=aggregate(votes), votes=votes)


def _results(row: Row) -> Iterator[tuple[Mapping[str, object], Mapping[str, object]]]:
    """Yield each annotation that counts, with its pairwise result."""
    for annotation in _dicts(row.get("annotations")):
        if not annotation.get("was_cancelled"):
            for result in _dicts(annotation.get("result")):
                if result.get("type") == "pairwise":
                    yield annotation, result


def _dicts(value: Any) -> list[Mapping[str, object]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _vote(annotation: Mapping[str, object], result: Mapping[str, object]) -> Comparison:
    value = result.get("value")
    selected = value.get("selected") if isinstance(value, dict) else None
    if selected not in ("left", "right"):
        raise ValueError(f"a pairwise result selects 'left' or 'right', got {value!r:.80}")
    better, annotator = int(selected == "right"), annotation.get("completed_by")
    return Comparison(better=better, worse=1 - better, annotator=None if annotator is None else str(annotator))


READER = Reader("label-studio", "{data, annotations: [{result: [{type: pairwise}]}]}: Label Studio", fits, group)
