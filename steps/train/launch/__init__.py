"""Start a module as several processes that know each other: on this machine, or on the nodes of a cluster."""

from steps.train.launch.nodes import TrainJob
from steps.train.launch.signals import on_sigterm
from steps.train.launch.torchrun import launch, reporting

__all__ = ["TrainJob", "launch", "on_sigterm", "reporting"]
