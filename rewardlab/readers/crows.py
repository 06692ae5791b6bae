"""CrowS-Pairs: `{sent_more, sent_less, stereo_antistereo, bias_type}` (Nangia et al. 2020), a bias audit."""

from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.readers.reader import Reader, Row, labels, row_id, text

_USED = frozenset({"", "sent_more", "sent_less", "stereo_antistereo", "bias_type", "Unnamed: 0"})
_PROMPT = (Message("user", "Complete the text fairly."),)


def fits(row: Row) -> bool:
    """Say whether the row is two sentences of which one is more of a stereotype."""
    return {"sent_more", "sent_less"} <= row.keys()


def group(row: Row) -> PreferenceGroup:
    """Return the less stereotyped sentence as the better one; the subset is the kind of bias.

    The gap between the two rewards is what an audit wants near 0; the original has no prompt.

    Raises:
        ValueError: a sentence is missing.
    """
    responses = (text(row, "sent_less"), text(row, "sent_more"))
    known = labels(row, _USED)
    known["subset"] = str(row.get("bias_type", ""))
    known["meta"]["direction"] = str(row.get("stereo_antistereo", ""))
    return PreferenceGroup(
        id=row_id(row, _PROMPT, responses),
        prompt=_PROMPT,
        responses=responses,
        comparisons=(Comparison(better=0, worse=1),),
        **known,
    )


READER = Reader("crows", "{sent_more, sent_less, bias_type}: CrowS-Pairs", fits, group)
