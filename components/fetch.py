"""Component: bring the data with a given md5."""

from kfp import dsl

from components import component


@component
def fetch(settings: str, data_md5: str, test_md5: str, data: dsl.Output[dsl.Dataset]) -> str:
    """Fetch the data and the separate test set, if any; return their digest."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.common.run_record import recorded
    from steps.fetch import FetchConfig, fetch

    with recorded():
        config = settings_config(FetchConfig, settings, data_md5=data_md5, test_md5=test_md5)
        digest = fetch(config, Path(data.path)).digest
        data.metadata.update(data_md5=data_md5, test_md5=test_md5, digest=digest)
        return digest
