"""What a subset takes to be learned: gold accuracy on unseen wordings, by number of groups and of trainable layers."""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from benchmarks.harness import Row, report
from pipelines.recipes import smollm2
from rewardlab.files import read_groups, write_groups
from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import accuracy, scored_pairs
from steps.ingest import IngestConfig, ingest
from steps.split import SplitConfig, split
from steps.tokenize import tokenize
from steps.train import TrainConfig, train
from synthetic import MakeDataConfig, make_data

_ROW = 5
_NUM_TEST = 120
_NUM_LAYERS = 30


def main() -> None:
    """Train the default recipe's backbone on one subset at a time and print a row for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file to write, again after each setting")
    parser.add_argument("--subset", nargs="+", default=["passage", "string_edits"], help="subsets")
    parser.add_argument("--grade", default="", help="train and test on this grade alone")
    parser.add_argument("--groups", nargs="+", type=int, default=[150, 300, 600, 1200], help="training groups")
    parser.add_argument("--layers", nargs="+", type=int, default=[10], help="trainable layers, from the top")
    parser.add_argument("--size", type=int, default=24_000, help="prompts to make the subsets from")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_data(MakeDataConfig(size=options.size), place / "data")
        ingest(IngestConfig(), place / "data", place / "groups")
        split(SplitConfig(), place / "groups", place / "splits")
        for subset in options.subset:
            for layers in options.layers:
                for num in options.groups:
                    rows.append(_learn(place, subset, options.grade, num=num, layers=layers))
                    report(options.json, rows)


def _learn(place: Path, subset: str, grade: str, *, num: int, layers: int) -> Row:
    """Return the accuracy on gold scores after one pass over `num` groups."""
    chosen = {
        part: list(islice(_of(place / "splits" / f"{part}.jsonl.gz", subset, grade), limit))
        for part, limit in (("train", num), ("test", _NUM_TEST))
    }
    if len(chosen["train"]) < num or not chosen["test"]:
        raise ValueError(f"{subset} has {len(chosen['train'])} training groups, {num} are wanted: make more (--size)")
    with tempfile.TemporaryDirectory(dir=place) as folder:
        run = Path(folder)
        (run / "splits").mkdir()
        write_groups(run / "splits" / "train.jsonl.gz", chosen["train"])
        write_groups(run / "splits" / "validation.jsonl.gz", chosen["test"][:1])  # nothing is chosen by it
        base = smollm2()
        tokenize(base.tokenize_config(), run / "splits", run / "tokens")
        train(_config(base.train_config(), num, layers), run / "tokens", run / "model", state=run / "state")
        measured = accuracy(scored_pairs(chosen["test"], _rewards(run / "model", chosen["test"]), "gold"))
    assert measured is not None
    low, high = measured.low, measured.high
    name = f"{subset}{f', grade {grade}' if grade else ''}: {num} groups, {layers} layers"
    why = f"95 % interval {low:.3f} to {high:.3f}, n = {measured.num}"
    return Row(row=_ROW, name=name, value=measured.value, unit="accuracy", status="met", why=why)


def _of(path: Path, subset: str, grade: str) -> Iterator[PreferenceGroup]:
    groups = (group for group in read_groups(path) if group.subset == subset)
    return (group for group in groups if not grade or group.meta["grade"] == grade)


def _config(base: TrainConfig, num: int, layers: int) -> TrainConfig:
    return replace(
        base,
        model=replace(base.model, freeze_layers=_NUM_LAYERS - layers),
        max_groups=num,
        validate_every=num,
    )


def _rewards(model: Path, groups: Sequence[PreferenceGroup]) -> list[list[float]]:
    """Return the rewards of each group's responses, one unpadded forward a response."""
    from models.checkpoint import load_model
    from rewardlab.tokens import TreeTokenizer
    from steps.export.parity import torch_outputs

    trained, _, readout = load_model(model)
    tokenizer = TreeTokenizer(model / "tokenizer.json", readout)
    trees = [tokenizer.tree(group.prompt, group.responses) for group in groups]
    return [torch_outputs(trained, [tree])[:, 0].tolist() for tree in trees]


if __name__ == "__main__":
    main()
