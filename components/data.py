"""The components from data to tokens: resolve, fetch, ingest, validate, split, tokenize."""

from typing import NamedTuple

from kfp import dsl

from components import component


@component
def resolve(
    settings: str,
) -> NamedTuple("Resolved", [("data_md5", str), ("test_md5", str), ("data_time", str), ("champion", str)]):  # type: ignore[valid-type]
    """Turn a DVC revision or a path into md5s, and find the champion."""
    from rewardlab.config import settings_config
    from steps.common.run_record import recorded
    from steps.resolve import ResolveConfig, resolve

    with recorded():
        found = resolve(settings_config(ResolveConfig, settings))
        return (found.data_md5, found.test_md5, found.data_time, found.champion)


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


@component
def tokenize(settings: str, digest: str, splits: dsl.Input[dsl.Dataset], tokens: dsl.Output[dsl.Dataset]) -> str:
    """Render and tokenize with the tokenizer of the policy; return the digest."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.common.run_record import recorded
    from steps.tokenize import TokenizeConfig, tokenize

    with recorded():
        digest = tokenize(settings_config(TokenizeConfig, settings), Path(splits.path), Path(tokens.path)).digest
        tokens.metadata.update(data_md5=splits.metadata["data_md5"], digest=digest)
        return digest
