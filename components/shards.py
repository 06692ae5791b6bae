"""Components: one of several shards of a step's work, whose results `components.whole` puts together."""

from kfp import dsl

from components import component


@component
def ingest_shard(
    settings: str, digest: str, shard: int, shards: int, data: dsl.Input[dsl.Dataset], part: dsl.Output[dsl.Dataset]
) -> str:
    """Read every n-th file; return the digest of what was read."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.ingest import IngestConfig, ingest_shard
    from steps.shards import Shard

    part.metadata.update(data_md5=data.metadata["data_md5"])
    config, one = settings_config(IngestConfig, settings), Shard(int(shard), int(shards))
    return ingest_shard(config, Path(data.path), Path(part.path), one)


@component
def validate_shard(
    settings: str, digest: str, shard: int, shards: int, groups: dsl.Input[dsl.Dataset], part: dsl.Output[dsl.Dataset]
) -> str:
    """Measure every n-th chunk of groups; return the digest of what was found."""
    from pathlib import Path

    from steps.shards import Shard
    from steps.validate import validate_shard

    part.metadata.update(data_md5=groups.metadata["data_md5"])
    return validate_shard(Path(groups.path), Path(part.path), Shard(int(shard), int(shards)))


@component
def tokenize_shard(
    settings: str, digest: str, shard: int, shards: int, splits: dsl.Input[dsl.Dataset], part: dsl.Output[dsl.Dataset]
) -> str:
    """Tokenize every n-th chunk of groups; return the digest of the trees."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.shards import Shard
    from steps.tokenize import TokenizeConfig, tokenize_shard

    part.metadata.update(data_md5=splits.metadata["data_md5"])
    config, one = settings_config(TokenizeConfig, settings), Shard(int(shard), int(shards))
    return tokenize_shard(config, Path(splits.path), Path(part.path), one)


@component
def evaluate_shard(
    settings: str,
    digest: str,
    splits_digest: str,
    shard: int,
    shards: int,
    bundle: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    part: dsl.Output[dsl.Dataset],
) -> str:
    """Score every n-th block of test groups; return the digest of the rewards."""
    from pathlib import Path

    from rewardlab.layout import TEST
    from steps.evaluate import evaluate_shard
    from steps.shards import Shard

    part.metadata.update(data_md5=bundle.metadata["data_md5"])
    test, one = Path(splits.path) / TEST, Shard(int(shard), int(shards))
    return evaluate_shard(Path(bundle.path), test, Path(part.path), one)
