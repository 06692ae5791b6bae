"""Probe a bundle: does it order what is known, stay where nothing changed, and rise for nothing?"""

from steps.audit.audit import PROBES, AuditConfig, audit

__all__ = ["PROBES", "AuditConfig", "audit"]
