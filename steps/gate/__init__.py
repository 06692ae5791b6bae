"""May the candidate become champion? Every rule of the policy must hold; anything missing, odd or stale means no."""

from steps.gate.decide import GateReport, decision, gate
from steps.gate.evidence import Evidence, read_evidence
from steps.gate.policy import (
    AuditLimit,
    BoundedDrift,
    Freshness,
    GateConfig,
    Limit,
    MinimumSample,
    NonInferior,
    Parity,
    SignOff,
    Superior,
)

__all__ = [
    "AuditLimit",
    "BoundedDrift",
    "Evidence",
    "Freshness",
    "GateConfig",
    "GateReport",
    "Limit",
    "MinimumSample",
    "NonInferior",
    "Parity",
    "SignOff",
    "Superior",
    "decision",
    "gate",
    "read_evidence",
]
