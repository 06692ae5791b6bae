"""Lists of right and wrong responses, `{prompt, chosen: [..], rejected: [..]}`: RewardBench 2 and RM-Bench."""

from itertools import combinations, product

from rewardlab.groups import Comparison, PreferenceGroup
from rewardlab.readers.reader import Reader, Row, check_pairs, conversation, labelled, labels, texts

_USED = frozenset({"prompt", "chosen", "rejected"})


def fits(row: Row) -> bool:
    """Say whether both sides are lists of strings."""
    sides = (row.get("chosen"), row.get("rejected"))
    return "prompt" in row and all(
        isinstance(side, list) and bool(side) and all(isinstance(text, str) for text in side) for side in sides
    )


def group(row: Row) -> PreferenceGroup:
    """Return a group with the right responses first; each is better than each wrong one.

    Right responses of RewardBench 2's subset Ties are equally right: they tie. Its rows `ref:N` and `tied:N` ask about
    the same thing, which makes them a family (Malik et al. 2025, section 3). RM-Bench's `domain` is the subset; its
    three styles stand in the order concise, detailed, detailed with markdown on both sides (Liu et al. 2024).

    Raises:
        ValueError: a column is missing or does not hold what it should.
    """
    chosen, rejected = texts(row, "chosen"), texts(row, "rejected")
    responses, prompt = chosen + rejected, conversation(row.get("prompt"))
    check_pairs(len(responses))
    pairs = product(range(len(chosen)), range(len(chosen), len(responses)))
    comparisons = [Comparison(better=i, worse=j) for i, j in pairs]
    known = labels(row, _USED)
    subset = known["subset"] or known["meta"].get("domain", "")
    family = ""
    if subset == "Ties":
        family = f"ties:{str(row.get('id')).rpartition(':')[2]}"
        comparisons += [Comparison(better=i, worse=j, strength=0.5) for i, j in combinations(range(len(chosen)), 2)]
    return labelled(row, prompt, responses, _USED, comparisons=tuple(comparisons), subset=subset, family=family)


READER = Reader("best-of", "{prompt, chosen: [..], rejected: [..]}: RewardBench 2, RM-Bench", fits, group)
