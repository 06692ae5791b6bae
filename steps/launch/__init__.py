"""Start a module as several processes that know each other: on this machine, or on the nodes of a cluster."""

from steps.launch.nodes import TrainJob
from steps.launch.signals import on_sigterm
from steps.launch.torchrun import launch, reporting

__all__ = ["TrainJob", "launch", "on_sigterm", "reporting"]
