"""Component: train the reward model."""

from kfp import dsl

from components import component


@component
def train(settings: str, digest: str, tokens: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model]) -> str:
    """Fit the reward model to the token trees; return the digest."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from rewardlab.home import training_state
    from steps.common.run_record import recorded
    from steps.train import TrainConfig, train

    with recorded():
        config, state = settings_config(TrainConfig, settings), training_state(settings, digest)
        digest = train(config, Path(tokens.path), Path(model.path), state=state).digest
        model.metadata.update(data_md5=tokens.metadata["data_md5"], digest=digest)
        return digest
