"""The scoring engine: one ONNX Runtime session that evaluation, audits, the server and the library share."""

from rewardlab.engine.engine import Engine, Scores
from rewardlab.engine.session import Device

__all__ = ["Device", "Engine", "Scores"]
