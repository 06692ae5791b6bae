"""From what each annotator said to one comparison per pair and aspect."""

from collections.abc import Sequence

from rewardlab.groups import Comparison

Key = tuple[str | None, int, int]


def aggregate(votes: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return one comparison per pair and aspect, in the order in which they were first voted on.

    Its strength is the share of the votes for the better response, ties counting half; its margin is the mean of
    the margins given, seen from the better response.

    Example:
        >>> votes = [Comparison(better=0, worse=1), Comparison(better=1, worse=0, strength=0.5)]
        >>> aggregate(votes)[0].strength
        0.75
    """
    voted: dict[Key, list[Comparison]] = {}
    for vote in votes:
        pair = (min(vote.better, vote.worse), max(vote.better, vote.worse))
        voted.setdefault((vote.aspect, *pair), []).append(vote)
    return tuple(_summary(key, entries) for key, entries in voted.items())


def _summary(key: Key, votes: list[Comparison]) -> Comparison:
    aspect, first, second = key
    share = sum(vote.strength if vote.better == first else 1.0 - vote.strength for vote in votes) / len(votes)
    margins = [vote.margin if vote.better == first else -vote.margin for vote in votes if vote.margin is not None]
    margin = sum(margins) / len(margins) if margins else None
    return comparison_of(first, second, share, margin, aspect)


def comparison_of(first: int, second: int, share: float, margin: float | None, aspect: str | None) -> Comparison:
    """Return the comparison whose first response wins with probability `share`, and by `margin`."""
    if share >= 0.5:
        return Comparison(better=first, worse=second, strength=share, margin=margin, aspect=aspect)
    margin = None if margin is None else -margin
    return Comparison(better=second, worse=first, strength=1.0 - share, margin=margin, aspect=aspect)
