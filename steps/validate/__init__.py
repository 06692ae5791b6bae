"""The validation step: which rows are quarantined and whether the data may be trained on."""

from steps.validate.pinned import pinned
from steps.validate.validate import ValidateConfig, ValidateReport, validate

__all__ = ["ValidateConfig", "ValidateReport", "pinned", "validate"]
