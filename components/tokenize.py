"""Component: render and tokenize with the tokenizer of the policy."""

from kfp import dsl

from components import component


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
