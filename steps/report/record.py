"""What a run left behind, as the page reads it."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from rewardlab.config import Report
from rewardlab.reports import AuditReport, Evaluation, GateDecision, Summary, TrainingReport, ValidationReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The reports of one run; `None` where the run ended before a report existed.

    `summary` is `runs/ID/summary.json`; the others are what the steps wrote.
    """

    summary: Summary
    evaluation: Evaluation | None = None
    audit: AuditReport | None = None
    gate: GateDecision | None = None
    validation: ValidationReport | None = None
    split: Mapping[str, object] | None = None
    training: TrainingReport | None = None
    export: Mapping[str, object] | None = None

    @classmethod
    def read(cls, summary: Summary, documents: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the record of a summary and the JSON documents of the steps, by the names of the reports.

        Raises:
            ValueError: a document does not have the form of its report.
        """
        parts: Any = {name: _read(name, document) for name, document in documents.items()}
        return cls(summary=summary, **parts)


_FORMS: Mapping[str, type[Report]] = {
    "evaluation": Evaluation,
    "audit": AuditReport,
    "gate": GateDecision,
    "validation": ValidationReport,
    "training": TrainingReport,
}


def with_their_form(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the documents that have the form of their report; the others are named on standard error.

    How a run ended must be told whatever one of its steps wrote.
    """
    kept = {}
    for name, document in documents.items():
        try:
            _read(name, document)
        except ValueError as error:
            print(f"the report of {name} is left out of summary and page: {error}", file=sys.stderr)
        else:
            kept[name] = document
    return kept


def _read(name: str, document: Mapping[str, Any]) -> Report | Mapping[str, Any]:
    return _FORMS[name].from_dict(document) if name in _FORMS else document
