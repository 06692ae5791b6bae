"""Length-debiased Bradley-Terry and consistency: closed forms in numpy, finite differences, and what they are for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.batches import TokenGroup
from models.config import Objective
from models.losses import group_loss
from models.targets import Labels, make_targets
from pipelines.recipes import recipe
from rewardlab.files import read_json, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from steps.common.rewording import REWORDINGS
from steps.tokenize import TokenizeConfig, reworded, tokenize
from steps.train import TrainConfig, train
from steps.train.length import LengthBias, fit_length_bias
from tests.steps.test_train_objectives import configured, tokenized

REWARDS = [0.3, -0.7, 1.1, 0.2, -1.3]
WON = Comparison(better=0, worse=1)
TIE = Comparison(better=0, worse=1, strength=0.5)


def group(size: int, *entries: Comparison, **known: object) -> TokenGroup:
    one = np.ones(1, dtype=np.int32)
    return TokenGroup(id="x", prompt=one, responses=(one,) * size, comparisons=entries, **known)  # type: ignore[arg-type]


def softplus(value: float) -> float:
    return float(np.logaddexp(0, value))


def loss(groups: list[TokenGroup], rewards: list[float], objective: Objective) -> float:
    values = torch.tensor(rewards, dtype=torch.float64)
    return group_loss(values, make_targets(groups), objective=objective, reduction="sum").item()


def test_what_length_explains_is_added_to_each_pair() -> None:
    groups = [group(2, WON, offsets=(0.4,)), group(2, TIE, offsets=(-0.2,), weight=2.0)]
    first, second = 0.3 + 0.7 + 0.4, 1.1 - 0.2 - 0.2
    expected = softplus(-first) + 2.0 * (softplus(-second) + softplus(second)) / 2
    assert loss(groups, REWARDS[:4], Objective()) == pytest.approx(expected)
    assert loss([group(2, WON, offsets=(0.0,))], REWARDS[:2], Objective()) == pytest.approx(softplus(-1.0))


def test_a_reward_that_length_explains_wholly_has_no_gradient() -> None:
    """One loss a pair, not one for the sums of a batch: each pair's gradient is its own residual."""
    bias = fit_length_bias([([9, 3], [Comparison(better=0, worse=1, strength=0.8)])] * 50)
    offsets = bias.offsets([9, 3], [WON])
    strong = Comparison(better=0, worse=1, strength=0.8)
    groups = [group(2, strong, offsets=offsets), group(2, replace(strong, strength=1.0), offsets=offsets)]
    rewards = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    group_loss(rewards, make_targets(groups), reduction="sum").backward()
    assert rewards.grad is not None
    assert rewards.grad[:2].tolist() == pytest.approx([0.0, 0.0], abs=1e-3)
    assert rewards.grad[2:].tolist() == pytest.approx([-0.2, 0.2], abs=1e-3)


def test_consistency_is_a_squared_distance_for_each_group() -> None:
    groups = [group(3, WON, reworded={2: 0}), group(2, WON)]
    objective = Objective(consistency=0.5)
    plain = loss(groups, REWARDS, Objective())
    assert loss(groups, REWARDS, objective) == pytest.approx(plain + 0.5 * (1.1 - 0.3) ** 2)
    heavy = [replace(groups[0], weight=3.0), groups[1]]
    assert loss(heavy, REWARDS, objective) - loss(heavy, REWARDS, Objective()) == pytest.approx(1.5 * 0.8**2)


def test_consistency_holds_for_each_output() -> None:
    aspect = Labels(comparisons=(WON,))
    one = group(3, WON, reworded={2: 1}, aspects=(aspect,))
    rewards = [*REWARDS, 0.8]
    objectives = [Objective(losses=("bradley_terry", "margin_ranking"), consistency=each) for each in (0.0, 2.0)]
    plain, more = (loss([one], rewards, objective) for objective in objectives)
    assert more - plain == pytest.approx(2.0 * ((1.1 + 0.7) ** 2 + (0.8 + 1.3) ** 2))


def test_gradients_are_those_of_finite_differences() -> None:
    groups = [group(3, WON, offsets=(0.3,), reworded={2: 0}), group(2, TIE, offsets=(0.7,))]
    rewards = torch.tensor(REWARDS, dtype=torch.float64, requires_grad=True)
    targets, objective = make_targets(groups), Objective(consistency=0.3, label_smoothing=0.1)
    assert torch.autograd.gradcheck(lambda values: group_loss(values, targets, objective=objective), (rewards,))


def test_sums_do_not_depend_on_how_groups_are_batched() -> None:
    groups = [group(3, WON, offsets=(0.3,), reworded={2: 0}), group(2, WON, offsets=(-0.7,))]
    objective = Objective(consistency=0.3)
    parts = loss(groups[:1], REWARDS[:3], objective) + loss(groups[1:], REWARDS[3:], objective)
    assert loss(groups, REWARDS, objective) == pytest.approx(parts, abs=1e-12)


def test_the_length_model_is_statsmodels_logit() -> None:
    import statsmodels.api as sm

    draw = np.random.default_rng(0)
    lengths = draw.integers(2, 90, (800, 2))
    ratio = np.log(lengths[:, 0] / lengths[:, 1])
    rows = np.stack([ratio, np.sign(ratio)], axis=1)
    wins = draw.random(800) < 1 / (1 + np.exp(-rows @ [0.8, 0.5]))
    entries = [WON if win else Comparison(better=1, worse=0) for win in wins]
    found = fit_length_bias((row.tolist(), [entry]) for row, entry in zip(lengths, entries, strict=True))
    wanted = sm.Logit(wins.astype(float), rows).fit(disp=False).params
    assert (found.log_ratio, found.longer) == pytest.approx(tuple(wanted), abs=2e-3)
    assert fit_length_bias([]) == LengthBias()
    assert found.offsets([5, 5], [WON]) == (0.0,)


def test_a_set_whose_labels_all_follow_length_has_a_finite_model() -> None:
    found = fit_length_bias([([8, 4], [WON])] * 300)
    assert 4.0 < found.offsets([8, 4], [WON])[0] < 30.0


def test_a_rewording_follows_from_the_responses_alone() -> None:
    one = PreferenceGroup(
        id="a", prompt=(Message("user", "q"),), responses=("It is four. Yes.", "No idea."), scores={"gold": (1.0, 0.0)}
    )
    twin = replace(one, id="b", prompt=(Message("user", "r"),), responses=one.responses[::-1])
    names = tuple(REWORDINGS)
    (first, source), (second, other) = reworded(one, names), reworded(twin, names)
    assert first.responses[:2] == one.responses
    assert first.responses[2] == second.responses[2]
    assert one.responses[source] == twin.responses[other]
    assert first.scores["gold"] == (1.0, 0.0, one.scores["gold"][source])
    assert reworded(one, ()) == (one, -1)
    plain = replace(one, responses=("no", "yes"))
    assert reworded(plain, ("lower_case", "markdown_off")) == (plain, -1)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="set both or neither"):
        recipe("smoke", {"train.consistency": 0.1})
    with pytest.raises(ValueError, match="there is no rewording nothing"):
        recipe("smoke", {"tokenize.rewordings": ["nothing"]})
    with pytest.raises(ValueError, match="debias is of bradley_terry"):
        recipe("smoke", {"train.debias": "length", "train.loss": "plackett_luce"})
    with pytest.raises(ValueError, match="consistency is finite"):
        Objective(consistency=-1.0)


def labelled(number: int, draw: np.random.Generator) -> PreferenceGroup:
    """Return two of four answers; the label follows what they say and how long they are, and nothing else."""
    texts = ("yes, do it so", "yes, do it so" + " and then do it again" * 3)
    answers = [*texts, *(text.replace("yes", "no") for text in texts)]
    one, other = draw.choice(4, 2, replace=False).tolist()
    logit = 2.0 * ((one < 2) - (other < 2)) + 2.0 * (one % 2 - other % 2)
    better, worse = (0, 1) if draw.random() < 1 / (1 + np.exp(-logit)) else (1, 0)
    prompt = (Message("user", f"Tell me about {number}"),)
    won = (Comparison(better=better, worse=worse),)
    return PreferenceGroup(id=str(number), prompt=prompt, responses=(answers[one], answers[other]), comparisons=won)


def effects(tokens: Path, config: TrainConfig, folder: Path) -> tuple[float, float]:
    """Train and return how far the reward rises with what an answer says, and with its length."""
    from models.checkpoint import load_model
    from rewardlab.tokens import TreeTokenizer
    from steps.export.parity import torch_outputs

    train(config, tokens, folder / "model", state=folder / "state")
    model, _, readout = load_model(folder / "model")
    texts = ("yes, do it so", "yes, do it so" + " and then do it again" * 3)
    tree = TreeTokenizer(folder / "model" / "tokenizer.json", readout).tree(
        (Message("user", "Tell me about 7"),), [*texts, *(text.replace("yes", "no") for text in texts)]
    )
    rewards = torch_outputs(model, [tree])[:, 0]
    return float(rewards[:2].mean() - rewards[2:].mean()), float(rewards[1::2].mean() - rewards[::2].mean())


@pytest.mark.slow
def test_a_debiased_reward_learns_what_is_said_and_not_how_long_it_is(registry: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    tokens = tokenized(tmp_path, [labelled(number, draw) for number in range(240)], ("gold",))
    said, length = effects(tokens, configured({}), tmp_path / "plain")
    said_too, length_too = effects(tokens, configured({}, debias="length"), tmp_path / "debiased")
    assert length > 0.5
    assert abs(length_too) < length / 2
    assert said_too > said / 2
    found = read_json(tmp_path / "debiased" / "model" / "training.json")["length_bias"]
    assert found["log_ratio"] + found["longer"] > 0
    assert read_json(tmp_path / "plain" / "model" / "training.json")["length_bias"] is None


@pytest.mark.slow
def test_a_consistent_reward_stays_where_the_rewording_says_the_same(registry: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    groups = [labelled(number, draw) for number in range(120)]
    write_groups(tmp_path / "splits" / "train.jsonl.gz", groups[8:])
    write_groups(tmp_path / "splits" / "validation.jsonl.gz", groups[:8])
    sizes = {"backbone": "tiny", "prompt_limit": 64, "response_limit": 64}
    tokenize(TokenizeConfig(**sizes, rewordings=("code_fence",)), tmp_path / "splits", tmp_path / "tokens")
    shifts = []
    for weight in (0.0, 3.0):
        config = configured({}, consistency=weight)
        folder = tmp_path / f"{weight:g}"
        train(config, tmp_path / "tokens", folder / "model", state=folder / "state")
        shifts.append(shift(folder / "model"))
    assert shifts[1] < shifts[0] / 2


def shift(folder: Path) -> float:
    """Return how far a code fence moves the reward, against how far the answers differ."""
    from models.checkpoint import load_model
    from rewardlab.tokens import TreeTokenizer
    from steps.export.parity import torch_outputs

    model, _, readout = load_model(folder)
    texts = ["yes, do it so", "no, do it so", "yes, do it so and then do it again"]
    tree = TreeTokenizer(folder / "tokenizer.json", readout).tree(
        (Message("user", "Tell me about 7"),), [*texts, *(REWORDINGS["code_fence"](text) for text in texts)]
    )
    rewards = torch_outputs(model, [tree])[:, 0]
    return float(np.abs(rewards[3:] - rewards[:3]).mean() / rewards[:3].std())
