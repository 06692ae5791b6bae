"""What debiasing for length and consistency do: length correlation, accuracy and steadiness beside the plain loss."""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, at_least, at_most, parser, report
from pipelines.recipes import Recipe, recipe
from rewardlab.files import read_groups
from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import PairTable, accuracy, cluster_bootstrap, labelled_pairs, scored_pairs
from steps.common.data_location import at_hand
from steps.common.rewording import REWORDINGS
from steps.common.statistics import length_correlation, paired_difference
from steps.ingest import IngestConfig, ingest
from steps.split import SplitConfig, split
from steps.tokenize import tokenize
from steps.train import train
from steps.validate import ValidateConfig, validate
from synthetic import MakeDataConfig, make_data

_ROW = 7
_LEARNED = ("lower_case", "whitespace", "bullets")
"""The rewordings that training sees; the others show whether steadiness carries over."""
ARMS = ("plain", "debiased", "consistent", "both")
_COEFFICIENT = 0.1
_NUM_STEADY = 30
_SHARES = SplitConfig(train=0.6, validation=0.05, calibration=0.05, test=0.3)
"""More is tested than usual: a point of accuracy is little."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of training, and the rewards that its model gave to the test groups and to their rewordings."""

    name: str
    rewards: list[list[float]]
    shift: dict[str, float]


def main() -> None:
    """Train every arm with every seed and print a row for each measurement."""
    options = parser(__doc__ or "")
    options.add_argument("--recipe", default="minilm", help="recipe whose model is trained")
    options.add_argument("--size", type=int, default=6000, help="prompts of the embedded data")
    options.add_argument("--length-bias", type=float, default=0.4, help="share of votes that go to the longer response")
    options.add_argument("--data", default="", help="data of people instead, such as HH")
    options.add_argument("--set", nargs="+", default=[], metavar="NAME=JSON", help="settings of the recipe")
    options.add_argument("--work", type=Path, help="folder that keeps what was trained, to go on another time")
    options.add_argument("--test", type=int, default=400, help="test groups")
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--arms", choices=ARMS, nargs="+", default=list(ARMS))
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _measure(arguments, arguments.work or Path(folder))


def _measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Train what is not in the folder, and report after each arm, since each takes minutes."""
    rows: list[Row] = []
    runs: list[list[Arm]] = []
    if not (folder / "splits").is_dir():
        _prepare(arguments, folder)
    test = list(islice(read_groups(folder / "splits" / "test.jsonl.gz"), arguments.test))
    for seed in arguments.seeds:
        runs.append([])
        for name in arguments.arms:
            runs[-1].append(_trained(arguments, folder, name, seed, test))
            rows += _rows(runs[-1][-1], runs[-1][0], test, f"{arguments.recipe}, seed {seed}")
            report(arguments.json, rows)
    report(arguments.json, [*rows, *_together(runs, test, f"{arguments.recipe}, {len(runs)} seeds")])


def _prepare(arguments: argparse.Namespace, folder: Path) -> None:
    """Write the splits."""
    if not arguments.data:
        size = 1200 if arguments.quick else arguments.size
        make_data(MakeDataConfig(size=size, length_bias=arguments.length_bias), folder / "data")
    with at_hand(arguments.data or str(folder / "data")) as place:
        ingest(IngestConfig(), place, folder / "groups")
    validate(ValidateConfig(max_quarantine_share=0.5), folder / "groups", folder / "accepted")
    split(_SHARES, folder / "accepted", folder / "splits")


def _trained(arguments: argparse.Namespace, folder: Path, name: str, seed: int, test: Sequence[PreferenceGroup]) -> Arm:
    chosen = _recipe(arguments, name, seed)
    tokens = folder / ("tokens-reworded" if chosen.tokenize.rewordings else "tokens")
    if not tokens.is_dir():
        tokenize(chosen.tokenize_config(), folder / "splits", tokens)
    model = folder / f"{name}-{seed}"
    if not model.is_dir():
        train(chosen.train_config(), tokens, model, state=folder / f"{name}-{seed}-state")
    few = test[:_NUM_STEADY]
    edited = [
        replace(each, responses=tuple(edit(text) for text in each.responses))
        for edit in REWORDINGS.values()
        for each in few
    ]
    rewards = _rewards(model, [*test, *edited])
    spread = float(np.std(np.concatenate(rewards[: len(test)])))
    before = np.concatenate(rewards[: len(few)])
    after = [np.concatenate(rewards[at : at + len(few)]) for at in range(len(test), len(rewards), len(few))]
    shift = {edit: float(np.abs(each - before).mean() / spread) for edit, each in zip(REWORDINGS, after, strict=True)}
    return Arm(name, rewards[: len(test)], shift)


def _recipe(arguments: argparse.Namespace, name: str, seed: int) -> Recipe:
    pairs = (setting.partition("=") for setting in arguments.set)
    settings = {"train.seed": seed, **{path: json.loads(value) for path, _, value in pairs}}
    if name in ("debiased", "both"):
        settings["train.debias"] = "length"
    if name in ("consistent", "both"):
        settings |= {"train.consistency": _COEFFICIENT, "tokenize.rewordings": list(_LEARNED)}
    return recipe(arguments.recipe, settings)


def _rewards(model: Path, groups: Sequence[PreferenceGroup]) -> list[list[float]]:
    """Return the rewards of each group's responses, one unpadded forward a response."""
    from models.checkpoint import load_model
    from rewardlab.tokens import TreeTokenizer
    from steps.export.parity import torch_outputs

    trained, _, readout = load_model(model)
    tokenizer = TreeTokenizer(model / "tokenizer.json", readout)
    return [torch_outputs(trained, [tokenizer.tree(each.prompt, each.responses)])[:, 0].tolist() for each in groups]


def _rows(arm: Arm, plain: Arm, test: Sequence[PreferenceGroup], about: str) -> Iterator[Row]:
    """Yield what an arm measures, against the plain one: half the correlation for a point of accuracy at most."""
    correlation, theirs = (length_correlation(test, each.rewards) for each in (arm, plain))
    assert correlation is not None
    assert theirs is not None
    name, why = f"{arm.name} ({about})", f"95 % interval {correlation.low:.3f} to {correlation.high:.3f}"
    half = abs(theirs.value) / 2
    size = abs(correlation.value)
    row = at_most(_ROW, f"|length correlation|: {name}", size, "", half)
    yield (
        replace(row, why=why) if arm.name in ("debiased", "both") else replace(row, target=None, status="met", why=why)
    )
    for kind in ("labels", "gold"):
        tables = [_pairs(kind, test, each) for each in (arm, plain)]
        if (found := accuracy(tables[0])) is None:
            continue
        interval = f"95 % interval {found.low:.3f} to {found.high:.3f}, n = {found.num}"
        yield Row(row=_ROW, name=f"accuracy on {kind}: {name}", value=found.value, unit="", status="met", why=interval)
        difference = paired_difference(*tables)
        if difference is not None and arm is not plain:
            row = _cost(f"accuracy on {kind}, minus plain: {name}", difference.value, counts=kind == _truth(test))
            yield replace(row, why=f"95 % interval {difference.low:.3f} to {difference.high:.3f}")
    seen = np.mean([arm.shift[edit] for edit in _LEARNED])
    unseen = np.mean([shift for edit, shift in arm.shift.items() if edit not in _LEARNED])
    for kind, value in (("seen", seen), ("not seen", unseen)):
        text = f"shift by rewordings {kind} in training: {name}"
        yield Row(row=_ROW, name=text, value=float(value), unit="s.d.", status="met")


def _together(runs: Sequence[Sequence[Arm]], test: Sequence[PreferenceGroup], about: str) -> Iterator[Row]:
    """Yield what each arm measures over all seeds: mean correlation, and accuracy minus the plain arm's, by prompt."""
    plain = [arms[0] for arms in runs]
    for arms in zip(*runs, strict=True):
        sizes = [abs(_correlation(each, test)) for each in arms]
        half = sum(abs(_correlation(each, test)) for each in plain) / 2 / len(plain)
        name = f"{arms[0].name} ({about})"
        row = at_most(_ROW, f"|length correlation|, mean: {name}", sum(sizes) / len(sizes), "", half)
        yield row if arms[0].name in ("debiased", "both") else replace(row, target=None, status="met")
        for kind in ("labels", "gold"):
            tables, theirs = ([_pairs(kind, test, each) for each in group] for group in (arms, plain))
            if arms[0] is plain[0] or not len(tables[0].decided.wins):
                continue
            wins = np.mean(
                [one.decided.wins - other.decided.wins for one, other in zip(tables, theirs, strict=True)], axis=0
            )
            low, high = cluster_bootstrap(wins, tables[0].decided.cluster, seed=0)
            title = f"accuracy on {kind}, minus plain, mean: {name}"
            row = _cost(title, float(wins.mean()), counts=kind == _truth(test))
            yield replace(row, why=f"95 % interval {low:.3f} to {high:.3f}, n = {len(wins)}")


def _cost(name: str, difference: float, *, counts: bool) -> Row:
    row = at_least(_ROW, name, difference, "", -0.01)
    return row if counts else replace(row, target=None, status="met")


def _truth(test: Sequence[PreferenceGroup]) -> str:
    """Return what accuracy may not be lost on: where truth is known, labels that follow length are no measure."""
    return "gold" if any("gold" in group.scores for group in test) else "labels"


def _correlation(arm: Arm, test: Sequence[PreferenceGroup]) -> float:
    found = length_correlation(test, arm.rewards)
    assert found is not None
    return found.value


def _pairs(kind: str, test: Sequence[PreferenceGroup], arm: Arm) -> PairTable:
    return labelled_pairs(test, arm.rewards) if kind == "labels" else scored_pairs(test, arm.rewards, kind)


if __name__ == "__main__":
    main()
