"""What an edit is given."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the test set, the last turn it answers, and the answer to some other prompt."""

    text: str
    prompt: str = ""
    other: str = ""
