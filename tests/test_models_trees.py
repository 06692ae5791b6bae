"""Token trees: rewards and gradients are those of separate sequences, whatever else is in the row."""

import numpy as np
import pytest
import torch
import transformers

from models.batches import TokenGroup, collate
from models.head import RewardHead
from models.losses import group_loss
from models.reward_model import RewardModel
from models.trees import lay_out, pack
from rewardlab.groups import Comparison

SHAPE = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
FAMILIES = {
    "Llama": {**SHAPE, "num_key_value_heads": 2},
    "Qwen2": {**SHAPE, "num_key_value_heads": 2},
    "Qwen3": {**SHAPE, "num_key_value_heads": 2, "head_dim": 8},
    "SmolLM3": {**SHAPE, "num_key_value_heads": 2, "no_rope_layers": [1, 0], "pad_token_id": 0},
    "GPT2": {
        "vocab_size": 99,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "attn_pdrop": 0,
        "resid_pdrop": 0,
        "embd_pdrop": 0,
    },
}


def _model(family: str, pooling: str = "last_token") -> RewardModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**FAMILIES[family], use_cache=False)
    backbone = getattr(transformers, f"{family}Model")._from_config(config, attn_implementation="sdpa")
    head = RewardHead(32, pooling=pooling, kind="mlp", seed=0)  # type: ignore[arg-type]
    return RewardModel(backbone, head, kind="causal").eval()


def _group(name: str, seed: int, prompt: int, *responses: int) -> TokenGroup:
    draw = np.random.default_rng(seed)
    ids = [draw.integers(1, 99, length).astype(np.int32) for length in (prompt, *responses)]
    entries = tuple(Comparison(better=at, worse=at + 1, strength=0.8) for at in range(len(responses) - 1))
    return TokenGroup(id=name, prompt=ids[0], responses=tuple(ids[1:]), comparisons=entries)


GROUPS = [_group("a", 0, 9, 5, 3, 7), _group("b", 1, 1, 1, 12), _group("c", 2, 17, 4), _group("d", 3, 6, 2, 2, 2, 30)]


def _separate(model: RewardModel) -> torch.Tensor:
    rows = [collate([TokenGroup(id="", prompt=s, responses=(s[:0],))], pad_id=0) for g in GROUPS for s in g.sequences]
    return torch.cat([model(row.ids_BT, row.lengths_B) for row in rows])


@pytest.mark.parametrize("pooling", ["last_token", "mean", "attention"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_are_those_of_separate_sequences(family: str, pooling: str) -> None:
    model = _model(family, pooling)
    alone = _separate(model)
    assert model.share_prompts()
    torch.testing.assert_close(model.score_trees(lay_out(GROUPS)), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_separate_sequences(family: str) -> None:
    model, batch = _model(family), lay_out(GROUPS)
    group_loss(_separate(model), batch.targets).backward()  # type: ignore[no-untyped-call]
    wanted = {name: value.grad for name, value in model.named_parameters()}
    model.zero_grad()
    assert model.share_prompts()
    group_loss(model.score_trees(batch), batch.targets).backward()  # type: ignore[no-untyped-call]
    for name, value in model.named_parameters():
        largest = 0.0 if wanted[name] is None else float(wanted[name].abs().max())
        torch.testing.assert_close(value.grad, wanted[name], atol=1e-5 * max(largest, 1e-3), rtol=1e-5, msg=name)


def test_neighbours_order_and_budget_change_nothing() -> None:
    model = _model("Llama")
    assert model.share_prompts()
    found = {}
    for rows in (pack(GROUPS, budget=50), pack(GROUPS[::-1], budget=500), [lay_out([group]) for group in GROUPS]):
        for row in rows:
            ends = np.cumsum([len(tree.responses) for tree in row.trees])[:-1]
            for name, rewards in zip(
                row.group_ids, np.split(model.score_trees(row).detach().numpy(), ends), strict=True
            ):
                np.testing.assert_allclose(rewards, found.setdefault(name, rewards), atol=1e-6, rtol=0)


def test_another_response_of_the_same_length_leaves_every_other_reward_bit_identical() -> None:
    model = _model("Llama")
    assert model.share_prompts()
    first = GROUPS[0]
    other = TokenGroup(id="a", prompt=first.prompt, responses=(*first.responses[:2], first.responses[2][::-1].copy()))
    one, two = (model.score_trees(lay_out([group, *GROUPS[1:]])) for group in (first, other))
    assert one[2] != two[2]
    assert torch.equal(one[[0, 1, 3, 4, 5, 6, 7, 8]], two[[0, 1, 3, 4, 5, 6, 7, 8]])


def test_rows_are_filled_and_none_exceeds_the_budget() -> None:
    draw = np.random.default_rng(0)
    groups = [_group(str(at), at, *draw.integers(1, 20, 3)) for at in range(200)]
    rows = pack(groups, budget=128)
    assert max(row.num_tokens for row in rows) <= 128
    assert sum(row.num_tokens for row in rows) > 0.95 * 128 * (len(rows) - 1)
    assert sorted(name for row in rows for name in row.group_ids) == sorted(group.id for group in groups)
    with pytest.raises(ValueError, match="tree of 24 tokens, the budget is 20"):
        pack(GROUPS[:1], budget=20)


def test_encoders_and_windows_do_not_share() -> None:
    config = transformers.MistralConfig(**FAMILIES["Llama"], sliding_window=8, use_cache=False)
    mistral = transformers.MistralModel(config)
    assert not RewardModel(mistral, RewardHead(32, pooling="last_token"), kind="causal").share_prompts()
    assert not RewardModel(
        _model("Llama").backbone, RewardHead(32, pooling="last_token"), kind="encoder"
    ).share_prompts()
