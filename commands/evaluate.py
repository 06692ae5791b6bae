"""Measure and compare models that are named by reference, on data of any known format."""

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from commands.foreign_model import foreign_rewards, is_foreign
from rewardlab.bundle import Bundle
from rewardlab.config import Report
from rewardlab.files import read_groups
from rewardlab.groups import PreferenceGroup
from rewardlab.layout import GROUPS
from rewardlab.metrics import Difference, Estimate, PairTable, accuracy, labelled_pairs
from rewardlab.references import resolve
from rewardlab.reports import BenchmarkEvaluation, ComparedModel, Data, McNemar
from steps.common.data_location import at_hand, version
from steps.common.scores import score
from steps.evaluate.against import compared, held_against
from steps.evaluate.evaluate import (
    EvaluateConfig,
    Scored,
    described,
    in_fixed_order,
    measure,
    refuse_trained,
    scored_by,
)
from steps.evaluate.rules import apply_rule, recognise
from steps.ingest import IngestConfig, ingest


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """What an evaluation is held beside: versions of the registered model `name`, a rule, what the policy would say.

    `num_policy` groups are read by the policy.
    """

    name: str
    anchor: str = ""
    rule: str = ""
    num_policy: int = EvaluateConfig().num_policy


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedPair(Report):
    """Two models on the same comparisons; the difference is the first less the second."""

    data: Data
    models: tuple[str, ...]
    accuracy: tuple[Estimate | None, ...]
    difference: Difference | None
    mcnemar: McNemar | None


def evaluate_reference(model: str, data: str, *, parse: str | None, beside: Beside) -> BenchmarkEvaluation:
    """Return the evaluation of a model on a file, a folder, or data that lie elsewhere.

    The model may be a bundle or any sequence classifier of one logit. A benchmark's rule is applied where one is named
    or the groups are recognised as the benchmark's.

    Raises:
        ValueError: the model, the anchor or the data cannot be read, the data were trained on, or do not fit the rule.
    """
    groups, num_unreadable = read_labelled(data, parse)
    scored = scored_reference(model, groups, beside.name)
    config = EvaluateConfig(name=beside.name, num_policy=beside.num_policy)
    measured, pairs = measure(config, scored, groups, described_data(data, groups, num_unreadable))
    champion, champion_note = _champion(scored.digest, groups, pairs, beside.name)
    anchor, note = (
        held_against(beside.anchor, groups, pairs, name=beside.name) if beside.anchor else (None, "no anchor is named")
    )
    rule = beside.rule or recognise(groups)
    compared_with = replace(measured, champion=champion, champion_note=champion_note, anchor=anchor, anchor_note=note)
    benchmark = apply_rule(rule, groups, scored.rewards) if rule else None
    return BenchmarkEvaluation.extending(compared_with, benchmark=benchmark)


def scored_reference(model: str, groups: list[PreferenceGroup], name: str) -> Scored:
    """Score groups with a bundle, which must not have been trained on them, or a sequence classifier of one logit.

    Raises:
        ValueError: the model cannot be read, there is no group, or some were trained on.
    """
    if not is_foreign(model):
        return scored_by(Bundle.open(*resolve(model, name=name)), groups)
    if not groups:
        raise ValueError("there is nothing to evaluate on: the data hold no group")
    return Scored(label=model, digest="", rewards=foreign_rewards(model, groups))


def compare_references(models: tuple[str, str], data: str, *, parse: str | None, name: str) -> ComparedPair:
    """Return both accuracies and the paired difference, first minus second.

    Raises:
        ValueError: a model or the data cannot be read, or one of the models was trained on the data.
    """
    bundles = [Bundle.open(*resolve(model, name=name)) for model in models]
    groups, num_unreadable = read_labelled(data, parse)
    for bundle in bundles:
        refuse_trained(bundle, groups)
    pairs = [labelled_pairs(groups, score(bundle, groups)) for bundle in bundles]
    second = compared(*pairs)
    return ComparedPair(
        data=described_data(data, groups, num_unreadable),
        models=tuple(bundle.label for bundle in bundles),
        accuracy=(accuracy(pairs[0]), second.accuracy),
        difference=second.difference,
        mcnemar=second.mcnemar,
    )


def table(result: BenchmarkEvaluation) -> str:
    """Return an evaluation as lines for a terminal."""
    metrics = result.metrics
    rows = [("all", metrics.accuracy), ("gold scores", metrics.accuracy_gold)]
    rows += [(name, subset.accuracy) for name, subset in result.subsets.items()]
    rows += [(f"baseline {name}", estimate) for name, estimate in result.baselines.items()]
    lines = [f"{result.model} on {result.data.path} ({result.data.groups} groups)"]
    notes = [f"  baseline policy: {result.policy_note}"] if result.policy_note else []
    for role, other in (("champion", result.champion), ("anchor", result.anchor)):
        if other:
            rows += [(f"{role} {other.model}", other.accuracy), (f"minus {role}", other.difference)]
    lines += [f"  {name:<24} {interval(estimate)}" for name, estimate in rows if estimate] + notes
    for name in ("best_of_n", "ece", "spearman", "length_correlation"):
        if measure := getattr(metrics, name):
            lines.append(f"  {name:<24} {measure.value:.3f}")
    if found := result.benchmark:
        lines.append(f"  benchmark {found.rule}: {found.score:.4f} ({found.words})")
        lines += [f"    {name:<22} {value:.4f}" for name, value in found.parts.items() if value is not None]
    return "\n".join(lines)


def comparison_table(result: ComparedPair) -> str:
    """Return a comparison as lines for a terminal."""
    lines = [
        f"  {label:<32} {interval(estimate)}" for label, estimate in zip(result.models, result.accuracy, strict=True)
    ]
    if test := result.mcnemar:
        counts = f"first {test.better}, second {test.worse}, p = {test.p_value:.3g} (McNemar)"
        lines.append(f"  {'only one is right':<32} {counts}")
    return "\n".join([*lines, f"  {'first minus second':<32} {interval(result.difference)}"])


def interval(estimate: Estimate | None, *, signed: bool = False) -> str:
    """Return an estimate with its interval for a terminal."""
    if estimate is None:
        return "not measured"
    sign = "+" if signed else ""
    low, high = f"{estimate.low:{sign}.3f}", f"{estimate.high:{sign}.3f}"
    return f"{estimate.value:{sign}.3f} ({low} to {high}, n = {estimate.num})"


def _champion(
    digest: str, groups: list[PreferenceGroup], pairs: PairTable, name: str
) -> tuple[ComparedModel | None, str]:
    """Return the champion's figures, or None and why there are none: no registry is needed to measure a folder."""
    try:
        champion = Bundle.open(*resolve("champion", name=name))
        if champion.digest == digest:
            return None, f"the model is the champion ({champion.label})"
        return held_against("champion", groups, pairs, name=name)
    except ValueError as error:
        return None, str(error)


def read_labelled(data: str, parse: str | None) -> tuple[list[PreferenceGroup], int]:
    """Return the groups of the data and how many rows could not be read, which standard error says too."""
    with tempfile.TemporaryDirectory() as folder, at_hand(data) as path:
        report = ingest(IngestConfig(parse=parse), path, Path(folder) / "groups")
        if report.num_unreadable:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in report.unreadable.items())
            print(f"rows of {data} that could not be read: {reasons}", file=sys.stderr)
        return in_fixed_order(read_groups(Path(folder) / "groups" / GROUPS)), report.num_unreadable


def described_data(data: str, groups: list[PreferenceGroup], num_unreadable: int) -> Data:
    """Return what a report says of the data that were measured on."""
    return described(groups, path=data, md5=version(data), num_unreadable=num_unreadable)
