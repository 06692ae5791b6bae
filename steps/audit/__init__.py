"""Probe a bundle: does it order refusals rightly, and what can raise its reward for nothing?"""

from steps.audit.audit import AuditConfig, AuditReport, audit
from steps.audit.probes import EDITS, ORDERS

__all__ = ["EDITS", "ORDERS", "AuditConfig", "AuditReport", "audit"]
