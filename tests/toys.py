"""Toy data that tell polite from rude, and short trainings on them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.config import ModelConfig
from rewardlab.files import read_json, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from steps.registry.client import EXPERIMENT, connect
from steps.tokenize import TokenizeConfig, tokenize
from steps.train import TrainConfig, TrainReport, train

GOOD, BAD = "yes, you are right", "no, that is wrong"


def toy(name: str, *, margin: float | None = None, labels: str = "comparisons") -> PreferenceGroup:
    """Return a pair that tells polite from rude; with `labels` "scores" or "ties" it says so in another way."""
    strength = 0.5 if labels == "ties" else 1.0
    return PreferenceGroup(
        id=name,
        prompt=(Message("user", f"Tell me about {name}"),),
        responses=(BAD, GOOD),
        comparisons=(Comparison(better=1, worse=0, strength=strength, margin=margin),) if labels != "scores" else (),
        scores={"gold": (0.0, 1.0)} if labels == "scores" else {},
    )


def tokenized(folder: Path, train: Iterable[PreferenceGroup], validation: Iterable[PreferenceGroup]) -> Path:
    """Return the folder of tokens of a training and a validation part."""
    write_groups(folder / "splits" / "train.jsonl.gz", train)
    write_groups(folder / "splits" / "validation.jsonl.gz", validation)
    config = TokenizeConfig(backbone="tiny", prompt_limit=64, response_limit=64)
    tokenize(config, folder / "splits", folder / "tokens")
    return folder / "tokens"


def configured(**changes: Any) -> TrainConfig:
    """Return settings for the tiny backbone that are validated at each step."""
    usual = {"groups_per_step": 8, "learning_rate": 1e-3, "token_budget": 2048, "validate_every": 1}
    return TrainConfig(**{"model": ModelConfig(backbone="tiny"), **usual, **changes})


def fit(tokens: Path, folder: Path, **changes: Any) -> tuple[TrainReport, list[dict[str, float]]]:
    """Train in a folder; return the report and the history."""
    report = train(configured(**changes), tokens, folder / "model", state=folder / "state")
    return report, read_json(folder / "model" / "training.json")["history"]


def only_run() -> Any:
    """Return the one run that the registry has, or fail."""
    client = connect()
    found = client.get_experiment_by_name(EXPERIMENT)
    (run,) = client.search_runs([found.experiment_id]) if found else []
    return run
