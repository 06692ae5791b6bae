"""Training a backbone that was pruned first: what is written loads, says what was left out, and repeats itself."""

from pathlib import Path

from models.checkpoint import load_model
from models.config import ModelConfig
from models.reward_model import layers
from rewardlab.files import read_json
from steps.train import TrainConfig, train

CONFIG = TrainConfig(model=ModelConfig(backbone="tiny"), max_groups=16, groups_per_step=8, prune_layers=1)


def test_a_pruned_backbone_is_trained_and_read_again(registry: Path, tokens: Path, tmp_path: Path) -> None:
    first = train(CONFIG, tokens, tmp_path / "one", state=tmp_path / "state")
    model, _, _ = load_model(tmp_path / "one")
    assert len(layers(model.backbone)) == read_json(tmp_path / "one" / "config.json")["num_hidden_layers"] == 1
    pruned = read_json(tmp_path / "one" / "training.json")["pruned"]
    assert pruned["influence"][pruned["layers"][0]] == min(pruned["influence"])
    assert train(CONFIG, tokens, tmp_path / "two", state=tmp_path / "state").digest == first.digest
