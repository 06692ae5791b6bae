"""Two answers and a verdict: `{question, response_A, response_B, label: "A>B"}`, as JudgeBench and LLMBar have them."""

from typing import Any

from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.readers.reader import Reader, Row, conversation, labelled, reply, text

_ASKED = ("context", "instruction", "prompt", "question", "input")
_SIDES = (
    ("response_A", "response_B"),
    ("response_a", "response_b"),
    ("response_1", "response_2"),
    ("response1", "response2"),
    ("answer1", "answer2"),
    ("output_1", "output_2"),
)
_VERDICTS = ("label", "winner", "preference", "overall_preference", "comparison")
_WORDS = {
    **dict.fromkeys(("a>b", "a>>b", "a", "model_a", "response_a", "left", "1"), "first"),
    **dict.fromkeys(("b>a", "b>>a", "b", "model_b", "response_b", "right", "2"), "second"),
    **dict.fromkeys(("a=b", "tie", "tie (bothbad)"), "tie"),
}


def fits(row: Row) -> bool:
    """Say whether the row has a question, two answers and a verdict."""
    return _sides(row) is not None and all(_present(row, names) for names in (_ASKED, _VERDICTS))


def group(row: Row) -> PreferenceGroup:
    """Return the pair; an instruction and its input make one turn, a line each.

    `overall_preference` is HelpSteer3's number: below 0 the first is better, 0 is a tie.

    Raises:
        ValueError: a column is missing, or the verdict is of no known form.
    """
    sides, asked, verdict = _sides(row), _present(row, _ASKED), _present(row, _VERDICTS)
    if not (sides and asked and verdict):
        raise ValueError("two answers with a question and a verdict are needed")
    prompt, responses = _prompt(row, asked), tuple(reply(row[side], side) for side in sides)
    identified = {**row, "id": row.get("id") or row.get("pair_id")}
    comparison = _comparison(verdict[0], row[verdict[0]])
    used = frozenset({*sides, *asked, *verdict})
    return labelled(identified, prompt, responses, used, comparisons=(comparison,))


def _comparison(name: str, verdict: Any) -> Comparison:
    word = _WORDS.get(str(verdict).strip().lower())
    if name == "overall_preference":
        word = "tie" if verdict == 0 else "first" if verdict < 0 else "second"
    if word is None:
        raise ValueError(f"{name} is 'A>B', 'B>A', 'A', 'B', 1, 2, 'left', 'right' or 'tie', got {verdict!r:.40}")
    better = int(word == "second")
    return Comparison(better=better, worse=1 - better, strength=0.5 if word == "tie" else 1.0)


def _sides(row: Row) -> tuple[str, str] | None:
    return next((pair for pair in _SIDES if row.keys() >= set(pair)), None)


def _present(row: Row, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if row.get(name) not in (None, "")]


def _prompt(row: Row, asked: list[str]) -> tuple[Message, ...]:
    return conversation(row[asked[0]] if len(asked) == 1 else "\n".join(text(row, name) for name in asked))


READER = Reader("sides", "{question, response_A, response_B, label}: JudgeBench, LLMBar, HelpSteer3", fits, group)
