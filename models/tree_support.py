"""Whether a backbone can read token trees exactly: tried, not assumed."""

import numpy as np
import torch
from transformers import PreTrainedModel

from models.batches import TokenGroup
from models.tree_attention import NAME, inputs, register
from models.tree_masks import Row
from models.trees import TreeBatch, lay_out

_KINDS = {"full_attention", "sliding_attention"}


def share_prompts(backbone: PreTrainedModel) -> str:
    """Let a causal backbone, or a language model, accept token trees; whatever else it is given, it reads as before.

    Returns why it cannot, and "" if it can: a small row of trees is read both ways and must give the same, so that
    nothing that passes from token to token beside attention, or that attention does in a way of its own, goes unseen.
    """
    config = backbone.config
    if unknown := set(getattr(config, "layer_types", None) or ()) - _KINDS:
        return f"it has layers of {', '.join(sorted(unknown))}"
    before = config._attn_implementation
    register()
    reason = _difference(backbone)
    if reason:
        backbone.set_attn_implementation(before)
    return reason


@torch.no_grad()
def _difference(backbone: PreTrainedModel) -> str:
    """Read two small trees as separate sequences and together; say what is wrong with the latter, if anything."""
    batch = _small_batch(backbone.config.get_text_config().vocab_size).to(backbone.device)
    sequences = [place_L[:length] for place_L, length in zip(batch.places_BL, batch.lengths_B.tolist(), strict=True)]
    training = backbone.training
    backbone.train(False)
    try:
        apart = torch.cat([backbone(input_ids=batch.ids_T[None, place])[0][0] for place in sequences])
        backbone.set_attn_implementation(NAME)
        row = Row(batch.trees, backbone.device)
        together = backbone(**inputs(batch, row))[0][0, torch.cat(sequences)]
    except (RuntimeError, TypeError, ValueError) as error:
        return f"it does not read trees ({error})"
    finally:
        backbone.train(training)
    if _has_windows(backbone) and row.windows == {None}:
        return "it does not say how far its sliding windows reach"
    rounding = 1e3 * torch.finfo(torch.float32).eps if apart.dtype == torch.float32 else 0.1
    gap = float((together - apart).abs().max() / apart.abs().max())
    return "" if gap < rounding else f"read in a tree, its outputs differ by {gap:.1g} of the largest"


def _small_batch(vocabulary: int) -> TreeBatch:
    draw = np.random.default_rng(0)
    ids = [draw.integers(vocabulary, size=size).astype(np.int32) for size in (5, 4, 3, 2, 3, 5)]
    return lay_out([TokenGroup(id="", prompt=ids[at], responses=(ids[at + 1], ids[at + 2])) for at in (0, 3)])


def _has_windows(backbone: PreTrainedModel) -> bool:
    config = backbone.config
    if kinds := getattr(config, "layer_types", None):
        return "sliding_attention" in kinds
    return bool(getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None))
