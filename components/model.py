"""The components that make the bundle: train, export."""

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


@component
def export(
    settings: str,
    digest: str,
    splits_digest: str,
    data_md5: str,
    model: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    bundle: dsl.Output[dsl.Model],
    parity: dsl.Output[dsl.Artifact],
) -> str:
    """Export, calibrate and seal; return the bundle's digest."""
    from pathlib import Path

    from rewardlab.config import settings_config
    from steps.common.run_record import recorded
    from steps.export import ExportConfig, export

    with recorded():
        lineage = {"model": digest, "splits": splits_digest, "data_md5": data_md5}
        config, folder = settings_config(ExportConfig, settings), Path(bundle.path)
        sealed = export(config, Path(model.path), Path(splits.path), folder, Path(parity.path), lineage=lineage).digest
        for made in (bundle, parity):
            made.metadata.update(data_md5=data_md5, digest=sealed)
        return sealed
