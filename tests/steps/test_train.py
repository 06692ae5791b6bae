"""Training on the tiny backbone: it learns, repeats itself, keeps the best, and says what it did."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.config import ModelConfig
from steps.train.world import World
from tests.ranks import trained
from tests.toys import configured, fit, only_run, tokenized, toy
from tests.trees import tree_of


def test_it_learns_and_repeats_itself_to_the_bit(registry: Path, toy_tokens: Path, tmp_path: Path) -> None:
    first, history = fit(toy_tokens, tmp_path / "a", epochs=3)
    assert [history[0]["train_loss"] > 0.5, history[-1]["train_loss"] < 0.2] == [True, True]
    assert (first.best_accuracy, first.num_groups) == (1.0, 32)
    second, _ = fit(toy_tokens, tmp_path / "b", epochs=3)
    assert first == second
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()
    assert not list((tmp_path / "a/state").glob("*"))


def test_the_seed_matters(registry: Path, toy_tokens: Path, tmp_path: Path) -> None:
    digests = {fit(toy_tokens, tmp_path / str(seed), seed=seed, max_groups=8)[0].digest for seed in (0, 1)}
    assert len(digests) == 2


def test_the_token_budget_does_not_change_the_trajectory(tokens: Path, tmp_path: Path) -> None:
    runs = {}
    for budget in (512, 8192):
        changes = {"token_budget": budget, "epochs": 1, "validate_every": 1, "patience": 99}
        trainer = trained(tokens, tmp_path / str(budget), World(device=torch.device("cpu")), **changes)
        losses = [(row.train_loss, row.validation_loss) for row in trainer.history.rows]
        runs[budget] = losses, load_file(tmp_path / str(budget) / "step-00000007" / "state.safetensors")
    for losses, state in runs.values():
        assert len(losses) == 7
        np.testing.assert_allclose(losses, runs[512][0], atol=1e-5)
        moved = {name: value - runs[512][1][name] for name, value in state.items() if name.startswith("weights.")}
        assert max(float(value.abs().max()) for value in moved.values()) < 1e-5


def test_groups_stay_on_the_disk(tokens: Path) -> None:
    from steps.train.groups import StoredGroups

    groups = StoredGroups(tokens / "train", configured(), limit=5)
    assert (len(groups), len(groups[1:9])) == (5, 4)
    pieces = [ids for group in groups for ids in (group.prompt, *group.responses)]
    assert all(isinstance(ids, np.memmap) for ids in pieces)
    assert groups[0] is not groups[0]  # nothing is held


def test_recomputing_changes_no_bit_and_keeps_less(
    registry: Path, toy_tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {}
    for recompute in (False, True):
        sizes: list[int] = []

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            fit(toy_tokens, tmp_path / str(recompute), recompute=recompute, max_groups=8)
        kept[recompute] = sum(sizes)
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("False", "True"))
    assert one.read_bytes() == other.read_bytes()
    assert kept[True] < 0.5 * kept[False]


def test_peaks_of_memory_are_told(registry: Path, toy_tokens: Path, tmp_path: Path) -> None:
    _, history = fit(toy_tokens, tmp_path, max_groups=8)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert own / 2 < history[-1]["peak_rss_bytes"] <= own
    assert only_run().data.metrics["peak_rss_bytes"] == history[-1]["peak_rss_bytes"]
    assert ("peak_device_bytes" in history[-1]) == torch.cuda.is_available()


def validation_accuracy(model: Path, tokens: Path) -> float:
    """Count wins over the validation store, one unpadded sequence at a time."""
    from models.checkpoint import load_model
    from steps.common.tokenstore import TokenStore
    from steps.export.parity import torch_outputs

    trained, store = load_model(model)[0], TokenStore(tokens / "validation")
    wins = []
    for stored in (store[index] for index in range(len(store))):
        rewards = torch_outputs(trained, [tree_of(stored)])[:, 0]
        wins += [rewards[each.better] > rewards[each.worse] for each in stored.comparisons if each.strength > 0.5]
    return float(np.mean(wins))


def test_the_best_weights_are_kept_and_patience_ends_it(registry: Path, tokens: Path, tmp_path: Path) -> None:
    report, history = fit(tokens, tmp_path, epochs=8, patience=3, learning_rate=3e-3, decay="constant")
    best = max(history, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))
    assert (report.best_step, report.best_accuracy) == (best["step"], best["validation_accuracy"])
    assert report.num_steps == report.best_step + 3 < 64
    assert validation_accuracy(tmp_path / "model", tokens) == pytest.approx(report.best_accuracy, abs=1e-9)
    assert history[-1]["validation_accuracy"] < report.best_accuracy


def test_the_head_has_a_learning_rate_of_its_own(
    registry: Path, toy_tokens: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    from models.checkpoint import load_model
    from models.reward_model import build_model

    fit(toy_tokens, tmp_path, learning_rate=1e-12, head_learning_rate=1e-2, max_groups=8)
    before = build_model(ModelConfig(backbone="tiny"), tiny_folder).state_dict()
    after = load_model(tmp_path / "model")[0].state_dict()
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before}
    assert moved.pop("head.score.weight") > 5e-3
    assert max(moved.values()) < 1e-9


@pytest.mark.parametrize(("decay", "half"), [("linear", 0.5), ("cosine", 0.5), ("constant", 1.0)])
def test_warm_up_then_decay(decay: str, half: float) -> None:
    from steps.train.optimizer import pace

    share = pace(configured(decay=decay, warmup_share=0.2), num_steps=20)
    shares = [share(step) for step in range(21)]
    assert shares[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert shares[12] == pytest.approx(half)
    assert shares[20] == pytest.approx(float(decay == "constant"))
    assert shares[4:] == sorted(shares[4:], reverse=True)


@pytest.mark.parametrize("loss", ["bradley_terry", "margin_ranking", "mse", "soft_cross_entropy"])
def test_each_loss_trains(loss: str, registry: Path, tokens: Path, tmp_path: Path) -> None:
    report, history = fit(tokens, tmp_path, loss=loss, max_groups=8, epochs=4)
    assert (report.num_groups, report.num_steps) == (8, 4)
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_scores_alone_are_enough_for_a_loss_of_scores(registry: Path, tmp_path: Path) -> None:
    groups = [toy(f"thing {number}", labels="scores") for number in range(24)]
    tokens = tokenized(tmp_path, groups[:16], groups[16:])
    report, _ = fit(tokens, tmp_path, loss="mse", epochs=3)
    assert report.best_accuracy == 1.0
    with pytest.raises(ValueError, match="no group with comparisons, which bradley_terry needs"):
        fit(tokens, tmp_path)


def flat(settings: dict[str, Any], path: str = "") -> dict[str, str]:
    """Return settings as text under their dotted paths."""
    found = {}
    for name, value in settings.items():
        found |= flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: str(value)}
    return found


def test_mlflow_holds_every_setting_and_the_metrics(registry: Path, toy_tokens: Path, tmp_path: Path) -> None:
    config = configured(max_groups=16)
    report, history = fit(toy_tokens, tmp_path, max_groups=16)
    run = only_run()
    assert run.data.params == flat(config.to_dict())
    assert run.data.metrics["validation_accuracy"] == history[-1]["validation_accuracy"]
    assert {"train_loss", "validation_loss", "tokens_per_s"} <= set(run.data.metrics)
    assert (run.info.status, report.num_steps) == ("FINISHED", 2)


def test_bf16_trains_near_fp32(registry: Path, toy_tokens: Path, tmp_path: Path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        _, history = fit(toy_tokens, tmp_path / precision, precision=precision, max_groups=16)
        losses.append([row["train_loss"] for row in history])
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    assert losses[0] != losses[1]
