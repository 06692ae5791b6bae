"""Measure a bundle on labelled groups, through the engine that will serve it."""

from steps.evaluate.against import compared, held_against
from steps.evaluate.evaluate import (
    EvaluateConfig,
    EvaluateReport,
    EvaluateSettings,
    Scored,
    described,
    evaluate,
    in_fixed_order,
    measure,
    refuse_trained,
    scored_by,
)
from steps.evaluate.rules import RULES, apply_rule, recognise

__all__ = [
    "RULES",
    "EvaluateConfig",
    "EvaluateReport",
    "EvaluateSettings",
    "Scored",
    "apply_rule",
    "compared",
    "described",
    "evaluate",
    "held_against",
    "in_fixed_order",
    "measure",
    "recognise",
    "refuse_trained",
    "scored_by",
]
