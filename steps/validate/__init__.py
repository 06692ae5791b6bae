"""The validation step: which rows are quarantined and whether the data may be trained on."""

from steps.validate.validate import ValidateConfig, pinned, validate

__all__ = ["ValidateConfig", "pinned", "validate"]
