"""Tiny real objects that tests share: a split data set, its tokens, and the sealed bundle of an untrained model."""

from pathlib import Path


def make_splits(folder: Path) -> Path:
    """Make a small synthetic data set and split it; return the folder of the parts."""
    from steps.ingest import IngestConfig, ingest
    from steps.split import SplitConfig, split
    from synthetic import MakeDataConfig, make_data

    make_data(MakeDataConfig(size=480), folder / "data")
    ingest(IngestConfig(), folder / "data", folder / "groups")
    config = SplitConfig(train=0.5, validation=0.15, calibration=0.15, test=0.2)
    split(config, folder / "groups", folder / "splits")
    return folder / "splits"


def make_tokens(splits: Path, folder: Path) -> Path:
    """Tokenize a data set for the backbone "tiny"; return the folder of the token trees."""
    from steps.tokenize import TokenizeConfig, tokenize

    tokenize(TokenizeConfig(backbone="tiny", prompt_limit=256, response_limit=256), splits, folder / "tokens")
    return folder / "tokens"


def make_bundle(splits: Path, tokens: Path, backbone: Path, folder: Path, *, seed: int) -> Path:
    """Seal the bundle of an untrained tiny model with a seeded head; return its folder."""
    from models.checkpoint import save_model
    from models.config import ModelConfig
    from models.reward_model import build_model
    from rewardlab.files import read_json
    from rewardlab.readout import ReadOut
    from steps.export import ExportConfig, export

    config = ModelConfig(backbone="tiny")
    readout = ReadOut.from_dict(read_json(tokens / "readout.json"))
    model = build_model(config, backbone, seed=seed)
    save_model(model, config, readout, backbone_folder=backbone, target=folder / "model")
    export(ExportConfig(), folder / "model", splits, folder / "bundle", folder / "export.json", lineage={})
    return folder / "bundle"
