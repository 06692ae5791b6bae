"""The one checkpoint format: a folder that transformers loads too, with safetensors only."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from models.backbone import copy_tokenizer
from models.config import ModelConfig
from models.lora import merge_lora
from models.reward_model import RewardModel, build_model
from rewardlab.files import atomic_path, file_digest, read_json
from rewardlab.layout import CHAT_TEMPLATE, MODEL_CONFIG, READOUT, TOKENIZER, WEIGHTS
from rewardlab.readout import ReadOut

_SCORE = "score.weight"


def save_model(
    model: RewardModel, config: ModelConfig, readout: ReadOut, *, backbone_folder: Path, target: Path
) -> None:
    """Write the model as a folder, whole or not at all.

    A causal model with last-token pooling and a linear head is what AutoModelForSequenceClassification reads, and
    scores the same there for right-padded batches. Of any other, AutoModel reads the backbone; its head is under
    `head.` in the weights. The read-out is written with the configuration's aspects and how they combine. Adapters
    are merged into the model that is given, so that it scores as what is written does.
    """
    merge_lora(model.backbone)
    readout = replace(readout, aspects=config.aspects, combination=config.combination, ensemble=config.ensemble)
    backbone_config = AutoConfig.from_pretrained(backbone_folder, trust_remote_code=False)
    prefix = model.backbone.base_model_prefix
    weights = {f"{prefix}.{key}": value for key, value in model.backbone.state_dict().items()}
    classifier = _classifier(config, readout, backbone_config)
    weights |= {_head_key(key, classifier): value for key, value in model.head.state_dict().items()}
    with atomic_path(target) as scratch:
        scratch.mkdir()
        save_torch_state_dict(weights, scratch, max_shard_size="10TB", metadata={"format": "pt"})
        _describe(backbone_config, model, readout, classifier).save_pretrained(scratch)
        copy_tokenizer(backbone_folder, scratch)
        (scratch / CHAT_TEMPLATE).write_text(readout.template, encoding="utf-8")
        for name, part in ((READOUT, readout), (MODEL_CONFIG, config)):
            (scratch / name).write_text(json.dumps(part.to_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_model(folder: Path, *, dtype: torch.dtype = torch.float32) -> tuple[RewardModel, ModelConfig, ReadOut]:
    """Load a folder that `save_model` wrote: backbone in `dtype`, head in fp32.

    Raises:
        ValueError: a file is missing or is not the one the read-out was made for.
    """
    if missing := [name for name in (MODEL_CONFIG, READOUT, WEIGHTS) if not (folder / name).is_file()]:
        raise ValueError(f"{folder} is no reward model's checkpoint: it has no {', '.join(missing)}")
    config = ModelConfig.from_dict(read_json(folder / MODEL_CONFIG))
    readout = ReadOut.from_dict(read_json(folder / READOUT))
    if file_digest(folder / TOKENIZER) != readout.tokenizer_digest:
        raise ValueError(f"the tokenizer.json in {folder} is not the one its read-out was made for")
    model = build_model(replace(config, lora_rank=0), folder, dtype=dtype)  # adapters are merged
    model.head.load_state_dict(_read_head(folder / WEIGHTS))
    return model.eval(), config, readout


def _classifier(config: ModelConfig, readout: ReadOut, backbone_config: PretrainedConfig) -> str | None:
    """Return the sequence classifier that computes the same reward, if there is one."""
    if (readout.kind, readout.pooling, config.head) != ("causal", "last_token", "linear"):
        return None
    if config.aspects or config.ensemble.num_heads > 1:
        return None
    return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(backbone_config.model_type)


def _head_key(key: str, classifier: str | None) -> str:
    return _SCORE if classifier and key == _SCORE else f"head.{key}"


def _read_head(weights: Path) -> dict[str, Tensor]:
    with safe_open(weights, framework="pt") as file:
        names = list(file.keys())
        return {
            name.removeprefix("head."): file.get_tensor(name)
            for name in names
            if name == _SCORE or name.startswith("head.")
        }


def _describe(
    backbone_config: PretrainedConfig, model: RewardModel, readout: ReadOut, classifier: str | None
) -> PretrainedConfig:
    """Return the backbone's configuration as that of a reward model."""
    backbone_config.num_labels = 1
    backbone_config.pad_token_id = readout.pad_id
    backbone_config.architectures = [classifier or type(model.backbone).__name__]
    backbone_config.dtype = next(model.backbone.parameters()).dtype
    return backbone_config
