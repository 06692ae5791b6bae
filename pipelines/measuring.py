"""Measure and compare models that are named by reference, on data of any known format."""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardlab.bundle import Bundle
from rewardlab.files import read_groups
from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import accuracy, labelled_pairs
from rewardlab.references import resolve
from steps.evaluate import EvaluateConfig, measure, refuse_trained
from steps.ingest import IngestConfig, ingest
from steps.remote import at_hand, version
from steps.scores import score
from steps.statistics import paired_difference


def evaluate_reference(model: str, data: str, *, parse: str | None, name: str) -> dict[str, Any]:
    """Return the contract's evaluation of a model on a file, a folder, or data that lie elsewhere.

    Raises:
        ValueError: the model or the data cannot be read, or the data were trained on.
    """
    bundle = _open(model, name)
    groups, num_unreadable = _read(data, parse)
    result = measure(EvaluateConfig(name=name), bundle, groups)
    del result["pairs"]
    return {**result, "data": _described(data, groups, num_unreadable)}


def compare_references(models: tuple[str, str], data: str, *, parse: str | None, name: str) -> dict[str, Any]:
    """Return both accuracies and the paired difference, first minus second.

    Raises:
        ValueError: a model or the data cannot be read, or one of the models was trained on the data.
    """
    bundles = [_open(model, name) for model in models]
    groups, num_unreadable = _read(data, parse)
    for bundle in bundles:
        refuse_trained(bundle, groups)
    pairs = [labelled_pairs(groups, score(bundle, groups)) for bundle in bundles]
    estimates = [accuracy(each) for each in pairs]
    difference = paired_difference(*pairs)
    return {
        "data": _described(data, groups, num_unreadable),
        "models": [bundle.label for bundle in bundles],
        "accuracy": [each.to_dict() if each else None for each in estimates],
        "difference": difference.to_dict() if difference else None,
    }


def table(result: Mapping[str, Any]) -> str:
    """Return an evaluation as lines for a terminal."""
    metrics = result["metrics"]
    rows = [("all", metrics["accuracy"]), ("gold scores", metrics["accuracy_gold"])]
    rows += [(name, subset["accuracy"]) for name, subset in result["subsets"].items()]
    rows += [(f"baseline {name}", estimate) for name, estimate in result["baselines"].items()]
    lines = [f"{result['model']} on {result['data']['path']} ({result['data']['groups']} groups)"]
    lines += [f"  {name:<24} {_estimate(estimate)}" for name, estimate in rows if estimate]
    for name in ("ece", "spearman", "length_correlation"):
        if metrics[name]:
            lines.append(f"  {name:<24} {metrics[name]['value']:.3f}")
    return "\n".join(lines)


def comparison_table(result: Mapping[str, Any]) -> str:
    """Return a comparison as lines for a terminal."""
    lines = [
        f"  {label:<32} {_estimate(estimate)}"
        for label, estimate in zip(result["models"], result["accuracy"], strict=True)
    ]
    return "\n".join([*lines, f"  {'first minus second':<32} {_estimate(result['difference'])}"])


def _estimate(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return "not measured"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f}, n = {estimate['num']})"


def _open(model: str, name: str) -> Bundle:
    folder, label = resolve(model, name=name)
    return Bundle.open(folder, label)


def _read(data: str, parse: str | None) -> tuple[list[PreferenceGroup], int]:
    """Return the groups of the data and how many rows could not be read, which standard error says too."""
    with tempfile.TemporaryDirectory() as folder, at_hand(data) as path:
        report = ingest(IngestConfig(parse=parse), path, Path(folder) / "groups")
        if report.num_unreadable:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in report.unreadable.items())
            print(f"rows of {data} that could not be read: {reasons}", file=sys.stderr)
        return list(read_groups(Path(folder) / "groups" / "groups.jsonl.gz")), report.num_unreadable


def _described(data: str, groups: list[PreferenceGroup], num_unreadable: int) -> dict[str, Any]:
    return {
        "path": data,
        "md5": version(data),
        "groups": len(groups),
        "comparisons": sum(len(group.comparisons) for group in groups),
        "unreadable": num_unreadable,
    }
