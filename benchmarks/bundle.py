"""A sealed bundle of an untrained tiny model, for what does not depend on how good or large a model is."""

from pathlib import Path

from models.backbone import prepare_backbone
from models.checkpoint import save_model
from models.config import ModelConfig
from models.reward_model import build_model
from rewardlab.files import read_json
from rewardlab.readout import ReadOut
from steps.export import ExportConfig, export
from steps.ingest import IngestConfig, ingest
from steps.make_data import MakeDataConfig, make_data
from steps.split import SplitConfig, split
from steps.tokenize import TokenizeConfig, tokenize


def tiny_bundle(folder: Path, *, backbone: str = "tiny") -> Path:
    """Make the bundle in a folder and return where it lies."""
    make_data(MakeDataConfig(size=480), folder / "data")
    ingest(IngestConfig(), folder / "data", folder / "groups")
    split(SplitConfig(train=0.5, validation=0.15, calibration=0.15, test=0.2), folder / "groups", folder / "splits")
    tokenize(TokenizeConfig(backbone=backbone), folder / "splits", folder / "tokens")
    weights = prepare_backbone(backbone, folder / "cache")
    config, readout = ModelConfig(backbone=backbone), ReadOut.from_dict(read_json(folder / "tokens" / "readout.json"))
    model = build_model(config, weights, seed=0)
    save_model(model, config, readout, backbone_folder=weights, target=folder / "model")
    export(ExportConfig(), folder / "model", folder / "splits", folder / "bundle", folder / "export.json", lineage={})
    return folder / "bundle"
