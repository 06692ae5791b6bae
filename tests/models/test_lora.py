"""Low-rank adapters: they start as nothing, alone they move, and what is written scores as what was trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification

from models.batches import TokenGroup
from models.checkpoint import load_model, save_model
from models.config import ModelConfig
from models.lora import merge_lora
from models.reward_model import RewardModel, build_model
from models.tokenizer import build_readout
from models.trees import lay_out

IDS = torch.randint(3, 250, (4, 30), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([30, 7, 1, 22])


def configured(folder: Path, **changes: Any) -> ModelConfig:
    return ModelConfig(**{"backbone": str(folder), "lora_rank": 4, **changes})


def trained(folder: Path, **changes: Any) -> RewardModel:
    """Return a model whose every moving weight has moved."""
    model = build_model(configured(folder, **changes), folder, seed=5)
    with torch.no_grad():
        for parameter in (value for value in model.parameters() if value.requires_grad):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


@torch.no_grad()
def test_adapters_start_as_nothing_and_come_from_the_seed(any_folder: Path) -> None:
    plain = build_model(configured(any_folder, lora_rank=0), any_folder).eval()
    first, again, other = (build_model(configured(any_folder), any_folder, seed=seed).eval() for seed in (0, 0, 1))
    assert torch.equal(first(IDS, LENGTHS), plain(IDS, LENGTHS))
    weights = [[value for name, value in model.named_parameters() if "lora_A" in name] for model in (first, again)]
    assert all(map(torch.equal, *weights))
    assert not torch.equal(weights[0][0], next(v for n, v in other.named_parameters() if "lora_A" in n))


@pytest.mark.parametrize("freeze", [0, 1])
def test_adapters_of_the_upper_layers_and_the_head_alone_learn(any_folder: Path, freeze: int) -> None:
    model = trained(any_folder, freeze_layers=freeze)
    model(IDS, LENGTHS).sum().backward()
    moving = {name for name, value in model.named_parameters() if value.requires_grad}
    assert {name for name, value in model.named_parameters() if value.grad is not None} == moving
    assert all("lora_" in name or name.startswith("head.") for name in moving)
    assert "head.score.weight" in moving
    for index in range(2):
        assert any(f".{index}." in name for name in moving) == (index >= freeze)


@torch.no_grad()
def test_what_is_written_scores_as_what_was_trained(any_folder: Path, tmp_path: Path) -> None:
    model, config = trained(any_folder), configured(any_folder)
    before, head = model(IDS, LENGTHS), model.head.score.weight.clone()
    readout = build_readout(any_folder, pooling="last_token", prompt_limit=64, response_limit=64)
    save_model(model, config, readout, backbone_folder=any_folder, target=tmp_path / "model")
    loaded, found, _ = load_model(tmp_path / "model")
    assert found == config
    assert torch.equal(loaded.head.score.weight, head)
    assert torch.equal(loaded(IDS, LENGTHS), model(IDS, LENGTHS))
    torch.testing.assert_close(loaded(IDS, LENGTHS), before, atol=1e-5, rtol=0)
    untrained = build_model(config, any_folder, seed=5).eval()
    assert (untrained(IDS, LENGTHS) - before).abs().max() > 1e-2
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as file:
        assert not [name for name in file.keys() if "lora" in name]  # noqa: SIM118 (it is no mapping)


@torch.no_grad()
def test_transformers_loads_it_head_and_all(tiny_folder: Path, tmp_path: Path) -> None:
    model = trained(tiny_folder)
    readout = build_readout(tiny_folder, pooling="last_token", prompt_limit=64, response_limit=64)
    save_model(model, configured(tiny_folder), readout, backbone_folder=tiny_folder, target=tmp_path / "model")
    classifier, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert not any(report.values()), report
    logits = classifier.eval()(input_ids=IDS[:1], attention_mask=torch.ones_like(IDS[:1])).logits
    torch.testing.assert_close(logits[:, 0], model(IDS[:1], LENGTHS[:1]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("fixture", ["tiny_folder", "gpt2_folder"])
def test_trees_read_adapters_as_sequences_do(fixture: str, request: pytest.FixtureRequest) -> None:
    model = trained(request.getfixturevalue(fixture))
    prompt, *responses = (IDS[row, :size].numpy().astype("int32") for row, size in enumerate((12, 5, 1, 9)))
    group = TokenGroup(id="x", prompt=prompt, responses=tuple(responses))
    alone = [model(torch.tensor(ids)[None].long(), torch.tensor([len(ids)])) for ids in group.sequences]
    assert model.share_prompts()
    torch.testing.assert_close(model.score_trees(lay_out([group])), torch.cat(alone), atol=1e-5, rtol=0)


def test_merging_without_adapters_changes_nothing(tiny_folder: Path) -> None:
    model = build_model(configured(tiny_folder, lora_rank=0), tiny_folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    merge_lora(model.backbone)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_weight_that_is_not_finite_is_not_merged(tiny_folder: Path) -> None:
    model = trained(tiny_folder)
    next(value for name, value in model.named_parameters() if "lora_B" in name).data.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        merge_lora(model.backbone)


@pytest.mark.parametrize("wrong", [{"lora_rank": -1}, {"lora_alpha": 0}])
def test_a_wrong_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lora_rank is at least 0 and lora_alpha positive"):
        configured(Path("x"), **wrong)
