# ruff: noqa: UP006, UP035 (kfp knows lists by this name alone)
"""Components: what a step would have written, from the results of its shards; what is global is decided here."""

from typing import List

from kfp import dsl

from components import component


@component
def ingest_whole(
    settings: str, digests: List[str], parts: dsl.Input[List[dsl.Dataset]], groups: dsl.Output[dsl.Dataset]
) -> str:
    """Number ids that occur again and count what could not be read; return the digest."""
    from pathlib import Path

    from steps.ingest import ingest_shards

    digest = ingest_shards([Path(part.path) for part in parts], Path(groups.path)).digest
    groups.metadata.update(data_md5=parts[0].metadata["data_md5"], digest=digest)
    return digest


@component
def validate_whole(
    settings: str,
    digest: str,
    digests: List[str],
    parts: dsl.Input[List[dsl.Dataset]],
    groups: dsl.Input[dsl.Dataset],
    accepted: dsl.Output[dsl.Dataset],
) -> str:
    """Find copies and contradictions, quarantine, and judge the data as a whole; return the digest."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.validate import ValidateConfig, validate_shards

    config, found = settings_config(ValidateConfig, settings), [Path(part.path) for part in parts]
    made = validate_shards(config, Path(groups.path), found, Path(accepted.path)).digest
    accepted.metadata.update(data_md5=groups.metadata["data_md5"], digest=made)
    return made


@component
def tokenize_whole(
    settings: str, digests: List[str], parts: dsl.Input[List[dsl.Dataset]], tokens: dsl.Output[dsl.Dataset]
) -> str:
    """Put the trees into one store; return the digest."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.tokenize import TokenizeConfig, tokenize_shards

    config, found = settings_config(TokenizeConfig, settings), [Path(part.path) for part in parts]
    digest = tokenize_shards(config, found, Path(tokens.path)).digest
    tokens.metadata.update(data_md5=parts[0].metadata["data_md5"], digest=digest)
    return digest


@component
def evaluate_whole(
    settings: str,
    digest: str,
    splits_digest: str,
    champion: str,
    digests: List[str],
    parts: dsl.Input[List[dsl.Dataset]],
    bundle: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
) -> str:
    """Measure the rewards of all shards, and the champion beside them; return the digest of the evaluation."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from rewardlab.layout import TEST
    from steps.evaluate import EvaluateConfig, evaluate_shards

    config, scored = settings_config(EvaluateConfig, settings), [Path(part.path) for part in parts]
    test, target = Path(splits.path) / TEST, Path(evaluation.path)
    found = evaluate_shards(config, Path(bundle.path), test, scored, target, champion=champion).digest
    evaluation.metadata.update(data_md5=bundle.metadata["data_md5"], digest=found)
    return found
