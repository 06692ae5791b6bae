"""The validation step: which rows are quarantined and whether the data may be trained on."""

from steps.validate.validate import ValidateConfig, ValidateReport, validate, validate_shard, validate_shards

__all__ = ["ValidateConfig", "ValidateReport", "validate", "validate_shard", "validate_shards"]
