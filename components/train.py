"""Component: train the reward model."""

from kfp import dsl

from components import component


@component
def train(settings: str, digest: str, tokens: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model]) -> str:
    """Fit the reward model to the token trees; return the digest."""
    import hashlib
    from pathlib import Path

    from rewardlab.config import settings_config
    from rewardlab.home import home
    from steps.train import TrainConfig, train

    state = home() / "training" / hashlib.sha256((settings + digest).encode()).hexdigest()[:16]
    return train(settings_config(TrainConfig, settings), Path(tokens.path), Path(model.path), state=state).digest
