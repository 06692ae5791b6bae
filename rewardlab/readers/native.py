"""Our own format: a preference group as JSON; votes without comparisons are aggregated."""

from collections.abc import Mapping
from dataclasses import replace

from rewardlab.groups import PreferenceGroup, messages
from rewardlab.readers.reader import Reader, Row, row_id, texts
from rewardlab.readers.votes import aggregate

_TEXTS = ("family", "subset", "source")


def fits(row: Row) -> bool:
    """Say whether the row is a preference group, whose least form is a prompt with responses."""
    return {"prompt", "responses"} <= row.keys() and "preferences" not in row


def group(row: Row) -> PreferenceGroup:
    """Return the group; the id may be missing.

    Raises:
        ValueError: a field is missing, unknown or does not hold what it should.
    """
    values = dict(row)
    _check(values)
    values["id"] = row_id(row, messages(values.get("prompt")), texts(row, "responses"))
    made = PreferenceGroup.from_dict(values)
    if made.comparisons or not made.votes:
        return made
    return replace(made, comparisons=aggregate(made.votes))


def _check(values: Row) -> None:
    for name in _TEXTS:
        if not isinstance(values.get(name, ""), str):
            raise ValueError(f"{name} is a string, got {values[name]!r:.80}")
    meta = values.get("meta", {})
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise ValueError(f"meta is an object of strings, got {meta!r:.80}")
    for name in ("comparisons", "votes"):
        entries = values.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{name} is a list of {{better, worse, ...}}, got {entries!r:.80}")
        for entry in entries:
            _check_entry(entry)


def _check_entry(entry: Mapping[str, object]) -> None:
    if not all(type(entry.get(key)) is int for key in ("better", "worse")):
        raise ValueError(f"better and worse are indices of responses, got {entry!r:.80}")
    for name in ("annotator", "aspect"):
        if not isinstance(entry.get(name, ""), str | None):
            raise ValueError(f"{name} is a string, got {entry[name]!r:.80}")


READER = Reader("native", "{prompt, responses, comparisons | votes | scores}: a preference group", fits, group)
