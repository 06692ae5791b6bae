"""Fit the reward model to tokenized groups."""

from steps.train.config import TrainConfig, TrainReport, TrainSettings
from steps.train.train import train

__all__ = ["TrainConfig", "TrainReport", "TrainSettings", "train"]
