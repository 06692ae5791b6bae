"""What a run left behind, as the page reads it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The JSON documents of one run; `None` where the run ended before a document existed.

    `summary` is `runs/ID/summary.json`; the others are what the steps wrote. `export` holds `parity` and `int8`,
    `training` holds `history`, a list of `{"step", "train_loss", "validation_loss", "validation_accuracy"}`,
    with `seconds`, `num_groups` and `best_step`.

    Raises:
        ValueError: the summary holds no decision the page knows.
    """

    summary: dict[str, Any]
    evaluation: dict[str, Any] | None = None
    audit: dict[str, Any] | None = None
    gate: dict[str, Any] | None = None
    validation: dict[str, Any] | None = None
    split: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    export: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if (decision := self.summary.get("decision")) not in DECISIONS:
            raise ValueError(f"summary['decision'] is one of {', '.join(DECISIONS)}, got {decision!r}")


DECISIONS = ("promoted", "rejected", "unchanged", "failed")
