"""Component: assign train, validation, calibration and test, and drop what leaks."""

from kfp import dsl

from components import component


@component
def split(settings: str, digest: str, accepted: dsl.Input[dsl.Dataset], splits: dsl.Output[dsl.Dataset]) -> str:
    """Assign train, validation, calibration and test, and drop what leaks; return the digest."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.common.run_record import recorded
    from steps.split import SplitConfig, split

    with recorded():
        digest = split(settings_config(SplitConfig, settings), Path(accepted.path), Path(splits.path)).digest
        splits.metadata.update(data_md5=accepted.metadata["data_md5"], digest=digest)
        return digest
