"""Component: run the Great Expectations suite; quarantine bad rows with a reason."""

from kfp import dsl

from components import component


@component
def validate(settings: str, digest: str, groups: dsl.Input[dsl.Dataset], accepted: dsl.Output[dsl.Dataset]) -> str:
    """Run the Great Expectations suite; quarantine bad rows with a reason; return the digest."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.common.run_record import recorded
    from steps.validate import ValidateConfig, validate

    with recorded():
        digest = validate(settings_config(ValidateConfig, settings), Path(groups.path), Path(accepted.path)).digest
        accepted.metadata.update(data_md5=groups.metadata["data_md5"], digest=digest)
        return digest
