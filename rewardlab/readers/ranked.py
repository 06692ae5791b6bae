"""Ranked completions: `{context, completions: [{rank, completion}]}`, as NeMo RL has them; a lower rank is better."""

from rewardlab.groups import PreferenceGroup
from rewardlab.readers.reader import Reader, Row, by_rating, conversation, labelled, number, reply

_USED = frozenset({"context", "completions"})


def fits(row: Row) -> bool:
    """Say whether the row has a context and completions with ranks."""
    completions = row.get("completions")
    return (
        "context" in row
        and isinstance(completions, list)
        and all(isinstance(entry, dict) and {"rank", "completion"} <= entry.keys() for entry in completions)
    )


def group(row: Row) -> PreferenceGroup:
    """Return the ranking as a group; equal ranks tie.

    Raises:
        ValueError: a column is missing or does not hold what it should.
    """
    prompt, completions = conversation(row.get("context")), row.get("completions")
    if not isinstance(completions, list) or not all(isinstance(entry, dict) for entry in completions):
        raise ValueError(f"completions is a list of {{rank, completion}}, got {completions!r:.80}")
    ranks = [number(entry, "rank") for entry in completions]
    if any(rank is None for rank in ranks):
        raise ValueError(f"each completion has a rank, got {ranks}")
    responses = tuple(reply(entry.get("completion"), "completion") for entry in completions)
    comparisons = by_rating([-rank for rank in ranks if rank is not None])
    return labelled(row, prompt, responses, _USED, comparisons=comparisons)


READER = Reader("ranked", "{context, completions: [{rank, completion}]}: NeMo RL", fits, group)
