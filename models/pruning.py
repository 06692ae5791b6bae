"""Depth pruning: a backbone without the layers that change the hidden state least.

Shapes: T tokens, D width, N layers.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedModel

from models.backbone import copy_tokenizer, load_backbone
from models.reward_model import layers
from rewardlab.files import atomic_path, write_json
from rewardlab.layout import PRUNED

Tokens = NDArray[np.int32]


@torch.no_grad()
def influence(backbone: PreTrainedModel, sequences: Sequence[Tokens]) -> Tensor:
    """Return each layer's block influence, influence_N: 1 - the mean cosine between what enters it and what leaves it.

    The mean is over all tokens (Men et al. 2024, "ShortGPT", equation 1). 0 is a layer that changes no direction.
    """
    stack = layers(backbone)
    alike_N, num_tokens = torch.zeros(len(stack)), sum(map(len, sequences))

    def watch(at: int) -> Any:
        def add(_layer: nn.Module, given: tuple[Tensor, ...], left: Tensor | tuple[Tensor, ...]) -> None:
            left_TD = left if isinstance(left, Tensor) else left[0]
            alike_N[at] += cosine_similarity(given[0], left_TD, dim=-1).sum()

        return add

    with ExitStack() as hooks:
        for at, layer in enumerate(stack):
            hooks.callback(layer.register_forward_hook(watch(at)).remove)
        for ids_T in sequences:
            backbone(input_ids=torch.as_tensor(ids_T)[None].long())
    return 1 - alike_N / num_tokens


def prune(folder: Path, sequences: Sequence[Tokens], *, num_layers: int, target: Path) -> None:
    """Write the backbone of a folder without the `num_layers` layers of the least influence on these sequences.

    `pruned.json` in the new folder says which those were, from 0 at the bottom, and the influence of each.

    Raises:
        ValueError: that would be all of its layers.
    """
    backbone = load_backbone(folder, dropout=0.0)
    backbone.train(False)
    stack, config = layers(backbone), backbone.config
    depth = len(stack)
    if num_layers >= depth:
        raise ValueError(f"prune_layers is {num_layers}, and the backbone has {depth} layers: leave at least one")
    influence_N = influence(backbone, sequences)
    gone = sorted(influence_N.argsort(stable=True)[:num_layers].tolist())
    kept = [at for at in range(depth) if at not in gone]
    for at in reversed(gone):
        del stack[at]
    for name, value in config.to_dict().items():  # such as the kind of each layer's attention
        if isinstance(value, list) and len(value) == depth:
            setattr(config, name, [value[at] for at in kept])
    config.num_hidden_layers = len(kept)
    with atomic_path(target) as scratch:
        backbone.save_pretrained(scratch)
        copy_tokenizer(folder, scratch)
        write_json(scratch / PRUNED, {"layers": gone, "influence": influence_N.tolist()})
