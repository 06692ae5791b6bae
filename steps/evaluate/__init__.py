"""Measure a bundle on labelled groups, through the engine that will serve it."""

from steps.evaluate.against import compared, held_against
from steps.evaluate.evaluate import EvaluateConfig, EvaluateReport, evaluate, measure, refuse_trained

__all__ = ["EvaluateConfig", "EvaluateReport", "compared", "evaluate", "held_against", "measure", "refuse_trained"]
