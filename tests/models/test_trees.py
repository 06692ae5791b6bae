"""Token trees: rewards and gradients are those of separate sequences, whatever else is in the row."""

import warnings

import numpy as np
import pytest
import torch
import transformers

from models.batches import TokenGroup, collate
from models.head import RewardHead
from models.losses import group_loss
from models.reward_model import RewardModel
from models.tree_attention import Look, by_group, in_blocks
from models.tree_masks import Row
from models.trees import lay_out, pack
from rewardlab.groups import Comparison

SHAPE = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SHARED = {**SHAPE, "num_key_value_heads": 2}
GPT2 = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4}
FAMILIES = {
    "Llama": SHARED,
    "Qwen2": {**SHARED, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    "Qwen3": {**SHARED, "head_dim": 8},
    "Mistral": {**SHARED, "sliding_window": 6},
    "SmolLM3": {**SHARED, "no_rope_layers": [1, 0], "pad_token_id": 0},
    "Gemma2": {**SHARED, "head_dim": 8, "sliding_window": 6, "attn_logit_softcapping": 0.5},
    "GPT2": {**GPT2, "attn_pdrop": 0, "resid_pdrop": 0, "embd_pdrop": 0},
}


def _model(family: str, pooling: str = "last_token", **changes: object) -> RewardModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**FAMILIES[family] | changes, use_cache=False)
    attention = "eager" if family == "Gemma2" else "sdpa"
    backbone = getattr(transformers, f"{family}Model")._from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for value in backbone.parameters():  # so far from 0 that windows, caps and positions tell
            value.normal_(std=0.2) if value.ndim == 2 else value.add_(0.1 * torch.randn_like(value))
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


@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_order_and_budget_change_nothing(family: str) -> None:
    model = _model(family)
    assert model.share_prompts()
    found = {}
    for rows in (pack(GROUPS, budget=50), pack(GROUPS[::-1], budget=500), [lay_out([group]) for group in GROUPS]):
        for row in rows:
            ends = np.cumsum([len(tree.responses) for tree in row.trees])[:-1]
            split = np.split(model.score_trees(row).detach().numpy(), ends)
            for name, rewards in zip(row.group_ids, split, strict=True):
                np.testing.assert_allclose(rewards, found.setdefault(name, rewards), atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_response_of_the_same_length_leaves_every_other_reward_bit_identical(family: str) -> None:
    model = _model(family)
    assert model.share_prompts()
    first = GROUPS[0]
    other = TokenGroup(id="a", prompt=first.prompt, responses=(*first.responses[:2], first.responses[2][::-1].copy()))
    one, two = (model.score_trees(lay_out([group, *GROUPS[1:]])) for group in (first, other))
    assert one[2] != two[2]
    assert torch.equal(one[[0, 1, 3, 4, 5, 6, 7, 8]], two[[0, 1, 3, 4, 5, 6, 7, 8]])


@pytest.mark.parametrize(
    ("family", "plain"),
    [
        ("Mistral", {"sliding_window": None}),
        ("Qwen2", {"use_sliding_window": False}),
        ("Gemma2", {"sliding_window": 64}),
        ("Gemma2", {"attn_logit_softcapping": None}),
        ("SmolLM3", {"no_rope_layers": [1, 1]}),
    ],
)
def test_what_sets_a_family_apart_tells_in_these_models(family: str, plain: dict[str, object]) -> None:
    assert (_separate(_model(family)) - _separate(_model(family, **plain))).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_sequences_are_read_as_before(family: str) -> None:
    model, batch = _model(family), collate(GROUPS, pad_id=0)
    before = model(batch.ids_BT, batch.lengths_B)
    assert model.share_prompts()
    torch.testing.assert_close(model(batch.ids_BT, batch.lengths_B), before, atol=1e-6, rtol=0)


LOOKS = [{}, {"window": 6}, {"cap": 0.5}, {"window": 6, "cap": 0.5}]


def _attended(look: dict[str, float]) -> tuple[list[torch.Tensor], Row, Look]:
    row = Row(lay_out(GROUPS).trees, torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)
    tokens = [torch.randn(1, heads, row.trees[-1].end, 16, generator=draw) for heads in (4, 2, 2)]
    options = {"scale": 0.25, "dropout": 0.0, "window": None, "cap": None}
    return tokens, row, Look(**options | look)  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [None, 6])
def test_a_softmax_written_out_reads_what_the_fused_kernel_reads(window: int | None) -> None:
    tokens, row, look = _attended({"window": window})  # type: ignore[dict-item]
    fused = [each.clone().requires_grad_() for each in tokens]
    written = [each.double().requires_grad_() for each in tokens]
    one, other = by_group(*fused, row, look), by_group(*written, row, look)
    torch.testing.assert_close(one.double(), other, atol=1e-6, rtol=0)
    (one**2).sum().backward()
    (other**2).sum().backward()
    for mine, same in zip(fused, written, strict=True):
        torch.testing.assert_close(mine.grad.double(), same.grad, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_in_bf16_are_near_those_of_separate_sequences(family: str) -> None:
    model, batch = _model(family), lay_out(GROUPS)
    alone = _separate(model)
    assert model.share_prompts()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rewards = model.score_trees(batch)
    assert 0 < (rewards - alone).abs().max() < 0.05 * alone.abs().max()


@pytest.mark.parametrize("look", LOOKS)
def test_flex_attention_reads_what_each_group_reads(look: dict[str, float]) -> None:
    (query, key, value), row, options = _attended(look)
    with warnings.catch_warnings(action="ignore"):  # torch says that it is slow where it is not compiled
        blocks = in_blocks(query, key, value, row, options)
    torch.testing.assert_close(blocks, by_group(query, key, value, row, options), atol=1e-6, rtol=0)


def test_flex_attention_refuses_dropout() -> None:
    row, zeros = Row(lay_out(GROUPS).trees, torch.device("cpu")), torch.zeros(1, 1, 1, 16)
    with pytest.raises(ValueError, match=r"FlexAttention has no dropout, and attention's is 0\.1"):
        in_blocks(zeros, zeros, zeros, row, Look(scale=1.0, dropout=0.1, window=None, cap=None))


def test_rows_are_filled_and_none_exceeds_the_budget() -> None:
    draw = np.random.default_rng(0)
    groups = [_group(str(at), at, *draw.integers(1, 20, 3)) for at in range(200)]
    rows = pack(groups, budget=128)
    assert max(row.num_tokens for row in rows) <= 128
    assert sum(row.num_tokens for row in rows) > 0.95 * 128 * (len(rows) - 1)
    assert sorted(name for row in rows for name in row.group_ids) == sorted(group.id for group in groups)
    with pytest.raises(ValueError, match="tree of 24 tokens, the budget is 20"):
        pack(GROUPS[:1], budget=20)


def test_an_encoder_does_not_share_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    config = transformers.BertConfig(**SHAPE)
    model = RewardModel(transformers.BertModel(config), RewardHead(32, pooling="mean"), kind="encoder")
    assert not model.share_prompts()
    assert caplog.messages == [
        "BertModel shares no prompts, because in an encoder the prompt sees the response: batches are sorted by "
        "length instead"
    ]


@pytest.mark.parametrize(
    ("family", "config", "reason"),
    [
        (
            "Mamba",
            {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 1},
            "MambaModel shares no prompts, because",
        ),
        ("Falcon", {**SHAPE, "num_hidden_layers": 1}, "it does not read trees ("),
        ("Qwen3Next", {**SHARED, "layer_types": ["linear_attention", "full_attention"]}, "layers of linear_attention"),
        ("GptOss", {**SHARED, "num_local_experts": 2, "num_experts_per_tok": 1}, "its outputs differ by"),
    ],
)
def test_what_is_not_exact_is_not_shared(
    family: str, config: dict[str, object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    backbone = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**config))
    before = backbone.config._attn_implementation
    assert not RewardModel(backbone, RewardHead(32, pooling="last_token"), kind="causal").share_prompts()
    assert reason in caplog.messages[-1]
    assert backbone.config._attn_implementation == before
