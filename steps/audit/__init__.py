"""Probe a bundle: does it order what is known, stay where nothing changed, and rise for nothing?"""

from steps.audit.audit import AuditConfig, AuditOutput, audit
from steps.audit.probes import EDITS, ORDERS, PROBES, SWAPS
from steps.audit.safety import SafetyConfig

__all__ = ["EDITS", "ORDERS", "PROBES", "SWAPS", "AuditConfig", "AuditOutput", "SafetyConfig", "audit"]
