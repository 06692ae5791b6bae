"""Single responses with a rating: HelpSteer's attributes, KTO's true or false, XSTest's compliance or refusal."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rewardlab.groups import Message, PreferenceGroup
from rewardlab.readers.reader import BadRow, Reader, Row, by_rating, conversation, labelled, number, reply, text

_ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_TURN = re.compile(r"\n<extra_id_1>(User|Assistant)\n")
_YES_NO = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0}
_COMPLIANCE = {"1_full_compliance": 1.0, "3_partial_refusal": 0.5, "2_full_refusal": 0.0}
_MOST_JOINED = 64


def joined(items: Iterator[PreferenceGroup | BadRow]) -> Iterator[PreferenceGroup | BadRow]:
    """Join neighbouring groups of one prompt and compare their responses by the first of their ratings.

    Bad rows come as they are. No group gets more than 64 responses.
    """
    held: list[PreferenceGroup] = []
    for item in items:
        if isinstance(item, BadRow):
            yield item
        elif held and len(held) < _MOST_JOINED and _same(held[0], item):
            held.append(item)
        else:
            yield from _whole(held)
            held = [item]
    yield from _whole(held)


def _same(one: PreferenceGroup, other: PreferenceGroup) -> bool:
    return one.prompt == other.prompt and one.scores.keys() == other.scores.keys()


def _whole(held: Sequence[PreferenceGroup]) -> Iterator[PreferenceGroup]:
    if held:
        scores = {aspect: tuple(each.scores[aspect][0] for each in held) for aspect in held[0].scores}
        responses = tuple(each.responses[0] for each in held)
        yield replace(held[0], responses=responses, scores=scores, comparisons=by_rating(next(iter(scores.values()))))


def _fits_helpsteer(row: Row) -> bool:
    return {"prompt", "response", "helpfulness"} <= row.keys()


def _helpsteer(row: Row) -> PreferenceGroup:
    """Return the response with its attributes, helpfulness first; marks between turns become turns."""
    found = {name: number(row, name) for name in _ATTRIBUTES}
    if found["helpfulness"] is None:
        raise ValueError("helpfulness is missing")
    scores = {name: (rating,) for name, rating in found.items() if rating is not None}
    first, *rest = _TURN.split(text(row, "prompt"))
    marked = zip(rest[::2], rest[1::2], strict=True)
    prompt = (Message("user", first), *(Message(speaker.lower(), said) for speaker, said in marked))
    used = frozenset({"prompt", "response", *_ATTRIBUTES})
    return labelled(row, prompt, (text(row, "response"),), used, scores=scores)


def _fits_kto(row: Row) -> bool:
    return {"prompt", "completion", "label"} <= row.keys() and str(row["label"]).lower() in _YES_NO


def _kto(row: Row) -> PreferenceGroup:
    """Return the completion with rating 1 where it is desirable, else 0."""
    label = _YES_NO.get(str(row.get("label")).lower())
    if label is None:
        raise ValueError(f"label is true or false, got {row.get('label')!r:.80}")
    completion, used = reply(row.get("completion"), "completion"), frozenset({"prompt", "completion", "label"})
    return labelled(row, conversation(row.get("prompt")), (completion,), used, scores={"label": (label,)})


def _fits_xstest(row: Row) -> bool:
    return {"type", "prompt", "completion", "final_label"} <= row.keys()


def _xstest(row: Row) -> PreferenceGroup:
    """Return the completion rated by whether it does what it should: comply, or refuse a `contrast_` prompt."""
    label, kind = _COMPLIANCE.get(str(row.get("final_label"))), text(row, "type")
    if label is None:
        raise ValueError(f"final_label is one of {', '.join(_COMPLIANCE)}, got {row.get('final_label')!r:.80}")
    rating = 1.0 - label if kind.startswith("contrast_") else label
    prompt, used = conversation(text(row, "prompt")), frozenset({"", "prompt", "completion"})
    return labelled(row, prompt, (text(row, "completion"),), used, subset=kind, scores={"appropriate": (rating,)})


HELPSTEER = Reader("rated", "{prompt, response, helpfulness, ...}: HelpSteer", _fits_helpsteer, _helpsteer, joins=True)
XSTEST = Reader(
    "xstest", "{type, prompt, completion, final_label}: XSTest's completions", _fits_xstest, _xstest, joins=True
)
KTO = Reader("kto", "{prompt, completion, label: true | false}: KTO", _fits_kto, _kto, joins=True)
