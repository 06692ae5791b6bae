"""The one record: a prompt, its responses, and what is known about them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role is one of {', '.join(ROLES)}, got {self.role!r}")
        if not isinstance(self.content, str):
            raise ValueError(f"content is a string, got {type(self.content).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A preference between two responses of a group, by their indices.

    `strength` is P(better wins), in [0.5, 1]; 0.5 is a tie. `aspect` names an objective.
    """

    better: int
    worse: int
    strength: float = 1.0
    margin: float | None = None
    annotator: str | None = None
    aspect: str | None = None

    def __post_init__(self) -> None:
        if self.better == self.worse:
            raise ValueError(f"a response cannot be compared with itself (index {self.better})")
        if not 0.5 <= self.strength <= 1.0:
            raise ValueError(f"strength is in [0.5, 1], got {self.strength}: swap better and worse below 0.5")
        if self.margin is not None and not math.isfinite(self.margin):
            raise ValueError(f"margin is finite, got {self.margin}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceGroup:
    """One prompt, K responses and what is known about them.

    `comparisons` holds one entry per pair and aspect, `votes` what each annotator said (empty where there was
    one voice), `scores` one rating per response by aspect. `family` must never straddle a split. `weight` is what the
    group counts in training; measurements count each group once.

    Raises:
        ValueError: an index is out of range, a rating is missing or not finite, the weight is not positive, or there is
            no response.
    """

    id: str
    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    votes: tuple[Comparison, ...] = ()
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    family: str = ""
    subset: str = ""
    source: str = ""
    weight: float = 1.0
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (isinstance(self.weight, (int, float)) and math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight is positive and finite, got {self.weight!r:.80}")
        if not self.prompt:
            raise ValueError("the prompt is empty")
        if not self.responses:
            raise ValueError("there are no responses")
        for comparison in (*self.comparisons, *self.votes):
            for index in (comparison.better, comparison.worse):
                if not 0 <= index < len(self.responses):
                    raise ValueError(f"comparison index {index} is out of range: {len(self.responses)} responses")
        for aspect, ratings in self.scores.items():
            if len(ratings) != len(self.responses):
                raise ValueError(f"scores[{aspect!r}] has {len(ratings)} ratings for {len(self.responses)} responses")
            if not all(math.isfinite(rating) for rating in ratings):
                raise ValueError(f"scores[{aspect!r}] holds a rating that is not finite: {ratings}")

    def to_dict(self) -> dict[str, object]:
        """Return the record as plain JSON values, defaults left out."""
        values: dict[str, object] = {
            "id": self.id,
            "prompt": [{"role": turn.role, "content": turn.content} for turn in self.prompt],
            "responses": list(self.responses),
        }
        for name in ("comparisons", "votes"):
            if entries := getattr(self, name):
                values[name] = [_comparison_dict(entry) for entry in entries]
        if self.scores:
            values["scores"] = {aspect: list(ratings) for aspect, ratings in self.scores.items()}
        values.update({name: value for name in ("family", "subset", "source") if (value := getattr(self, name))})
        if self.weight != 1.0:
            values["weight"] = self.weight
        return values | ({"meta": dict(self.meta)} if self.meta else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the record from `to_dict` values.

        Raises:
            ValueError: a field is missing, unknown or does not hold what it should.
        """
        try:
            rest = {name: value for name, value in values.items() if name not in _STRUCTURED}
            return cls(
                prompt=messages(values["prompt"]),
                responses=_texts(values["responses"]),
                comparisons=tuple(Comparison(**entry) for entry in values.get("comparisons", ())),
                votes=tuple(Comparison(**entry) for entry in values.get("votes", ())),
                scores={
                    aspect: tuple(float(rating) for rating in ratings)
                    for aspect, ratings in values.get("scores", {}).items()
                },
                **rest,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a preference group: {error}") from error


_STRUCTURED = ("prompt", "responses", "comparisons", "votes", "scores")


def messages(prompt: Any) -> tuple[Message, ...]:
    """Return a prompt as messages: a string is one user turn, taken as it is.

    Raises:
        ValueError: the prompt is neither a string nor a list of `{role, content}`.

    Example:
        >>> messages("Hello")
        (Message(role='user', content='Hello'),)
    """
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    if not isinstance(prompt, Sequence) or not prompt:
        raise ValueError(f"prompt is a string or a non-empty list of messages, got {prompt!r:.80}")
    for turn in prompt:
        if not isinstance(turn, Mapping) or set(turn) != {"role", "content"}:
            raise ValueError(f"a message is {{'role', 'content'}}, got {turn!r:.80}")
    return tuple(Message(turn["role"], turn["content"]) for turn in prompt)


def prompt_text(prompt: Sequence[Message]) -> str:
    """Return the conversation as plain text, for hashing, duplicates and display."""
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in prompt)


def _texts(responses: Any) -> tuple[str, ...]:
    if not isinstance(responses, (list, tuple)) or not all(isinstance(text, str) for text in responses):
        raise ValueError(f"responses is a list of strings, got {responses!r:.80}")
    return tuple(responses)


def _comparison_dict(comparison: Comparison) -> dict[str, int | float | str]:
    values: dict[str, int | float | str] = {"better": comparison.better, "worse": comparison.worse}
    if comparison.strength != 1.0:
        values["strength"] = comparison.strength
    for name in ("margin", "annotator", "aspect"):
        if (value := getattr(comparison, name)) is not None:
            values[name] = value
    return values
