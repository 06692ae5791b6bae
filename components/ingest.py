"""Component: read any known format into preference groups."""

from kfp import dsl

from components import component


@component
def ingest(settings: str, digest: str, data: dsl.Input[dsl.Dataset], groups: dsl.Output[dsl.Dataset]) -> str:
    """Read any known format into preference groups; return the digest."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.common.run_record import recorded
    from steps.ingest import IngestConfig, ingest

    with recorded():
        digest = ingest(settings_config(IngestConfig, settings), Path(data.path), Path(groups.path)).digest
        groups.metadata.update(data_md5=data.metadata["data_md5"], digest=digest)
        return digest
