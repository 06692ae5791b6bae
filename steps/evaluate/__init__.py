"""Measure a bundle on labelled groups, through the engine that will serve it."""

from steps.evaluate.evaluate import EvaluateConfig, EvaluateSettings, evaluate

__all__ = ["EvaluateConfig", "EvaluateSettings", "evaluate"]
