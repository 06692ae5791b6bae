"""Try the graph in fewer bits, measure what that changes, and choose what is sealed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rewardlab.config import Config
from rewardlab.engine.session import Session
from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import PairTable, reliability, win_probability
from rewardlab.tokens import TokenTree
from steps.common.statistics import by_group, paired_difference, spearman
from steps.export.calibrate import calibration_pairs
from steps.export.parity import Rewards, same_alone

Precision = Literal["auto", "fp32", "fp16", "int8"]
FP32, FP16 = "fp32", "fp16"
Make = Callable[[Path], object]
"""Writes a variant of the graph."""
_BATCH, _DYNAMIC, _RANKS = "rewards depend on the batch", "the error is near that of dynamic INT8", "ranks change"
"""What a few groups tell of a variant; the rest takes all."""
_DECIDED = 0.05
"""A pair counts as decided where fp32 says that |P(a beats b) - 0.5| is at least this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget(Config):
    """How far a graph in fewer bits may be from fp32 to be sealed.

    Shares: pairs that flip where fp32 has decided, accuracy that may be lost with 95 % confidence, error beside that of
    dynamic INT8, rank correlation, change of the calibration error.
    """

    max_flips_decided: float = 0.001
    max_accuracy_loss: float = 0.005
    max_rms_to_dynamic: float = 0.5
    min_spearman: float = 0.995
    max_ece_change: float = 0.005


@dataclass(frozen=True, slots=True)
class Trial:
    """The texts that the variants are measured on, the temperature that fp32 asks for, and what may change.

    `seen` are texts of the training split, which the columns of activations are measured on.
    """

    groups: Sequence[PreferenceGroup]
    trees: Sequence[TokenTree]
    pad_id: int
    temperature: float
    budget: Budget = Budget()
    seen: Sequence[TokenTree] = ()


def try_variants(model: Path, trial: Trial, *, more: Mapping[str, Make]) -> tuple[dict[str, Any], dict[str, Rewards]]:
    """Write the graph's INT8 variants beside it as `NAME.onnx`; return what each changes and the rewards it gives.

    `w8a8` and `w8a8_wide` (which leaves the widest layers in fp32) do not depend on the batch; `dynamic`, ONNX
    Runtime's dynamic quantization, does, and is there to compare with. `more` are tried too.
    """
    from steps.export.int8 import largest_columns, quantize_rows

    largest = largest_columns(model, trial.seen, pad_id=trial.pad_id)
    makers: dict[str, Make] = {
        "dynamic": lambda target: _dynamic(model, target),
        "w8a8": lambda target: quantize_rows(model, target, largest=largest),
        "w8a8_wide": lambda target: quantize_rows(model, target, keep_wide=True, largest=largest),
    }
    makers |= more
    wide, seconds = _timed(model, trial)
    found, rewards = {}, {FP32: wide}
    for name, make in makers.items():
        target = model.parent / f"{name}.onnx"
        make(target)
        rewards[name], narrow_seconds = _timed(target, trial)
        found[name] = changes(wide, rewards[name], trial) | {
            "speedup": seconds / narrow_seconds,
            "size_ratio": target.stat().st_size / model.stat().st_size,
            "same_alone": same_alone(Session(target, pad_id=trial.pad_id), trial.trees[:8]),
        }
    for each in found.values():
        each["rms_to_dynamic"] = each["rms_error_sd"] / max(found["dynamic"]["rms_error_sd"], 1e-12)
        each["shortfalls"] = _shortfalls(each, trial.budget)
    return found, rewards


def judge(tried: Mapping[str, Any], wide: Rewards, narrow: Rewards, trial: Trial) -> dict[str, Any]:
    """Return what was found of a variant on a few groups, with what it changes on all that the trial has now."""
    found = {**tried, **changes(wide, narrow, trial)}
    return found | {"shortfalls": _shortfalls(found, trial.budget)}


def changes(wide: Rewards, narrow: Rewards, trial: Trial) -> dict[str, Any]:
    """Return how far rewards and the order of pairs have moved from fp32; `None` where nothing can be said.

    `accuracy_change` is on the labels, paired, with its bootstrapped interval; `ece_change` is that of the calibration
    error at fp32's temperature; `best_of` says how often the best response of a group is the same one.
    """
    before, after = (calibration_pairs(trial.groups, by_group(rewards, trial.groups)) for rewards in (wide, narrow))
    margin = np.abs(win_probability(before, trial.temperature) - 0.5)
    flips = np.sign(before.better - before.worse) != np.sign(after.better - after.worse)
    closest = np.argsort(margin, kind="stable")[: -(-len(margin) // 10)]
    accuracy = paired_difference(after, before)
    return {
        "rms_error_sd": float(np.sqrt(np.mean((narrow - wide) ** 2)) / max(float(wide.std()), 1e-12)),
        "spearman": spearman(wide.tolist(), narrow.tolist()),
        "flip_rate": _share(flips),
        "flip_rate_decided": _share(flips[margin >= _DECIDED]),
        "flip_rate_closest_decile": _share(flips[closest]),
        "num_decided": int((margin >= _DECIDED).sum()),
        "accuracy_change": accuracy and {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high},
        "ece_change": _ece_change(before, after, trial.temperature),
        "best_of": _best_of(trial.groups, wide, narrow),
        "num": len(wide),
    }


def choose(precision: Precision, trials: dict[str, Any], confirm: Callable[[str], dict[str, Any]]) -> str:
    """Return the variant to seal: fp32, or the fastest that changes little enough.

    Args:
        precision: what is asked for; `auto` takes only what is faster than fp32.
        trials: what was found on a few groups; of a variant that these leave in the running, replaced by the following.
        confirm: tells what a variant changes on all groups.

    Raises:
        ValueError: fewer bits are asked for and no variant changes little enough.
    """
    if precision == FP32:
        return FP32
    asked = [name for name in trials if (name == FP16) == (precision == FP16)]
    for name in sorted(asked, key=lambda name: -float(trials[name]["speedup"])):
        if precision == "auto" and trials[name]["speedup"] <= 1:
            break
        if not {_BATCH, _DYNAMIC, _RANKS} & set(trials[name]["shortfalls"]):
            trials[name] = confirm(name)
            if not trials[name]["shortfalls"]:
                return name
    if precision == "auto":
        return FP32
    reasons = "; ".join(f"{name}: {', '.join(trials[name]['shortfalls'])}" for name in asked)
    raise ValueError(
        f"no {precision.upper()} graph is close enough to fp32 ({reasons}): export with precision fp32 or auto"
    )


def _shortfalls(found: Mapping[str, Any], budget: Budget) -> list[str]:
    """Return what keeps a variant from being sealed; what could not be measured keeps it too."""
    accuracy = found["accuracy_change"]
    checks = {
        _BATCH: found["same_alone"],
        "pairs flip where fp32 has decided": _at_most(found["flip_rate_decided"], budget.max_flips_decided),
        "accuracy may be lower": accuracy is not None and accuracy["low"] >= -budget.max_accuracy_loss,
        _DYNAMIC: _at_most(found["rms_to_dynamic"], budget.max_rms_to_dynamic),
        _RANKS: found["spearman"] is not None and found["spearman"] >= budget.min_spearman,
        "the calibration moves": _at_most(found["ece_change"], budget.max_ece_change),
    }
    return [reason for reason, holds in checks.items() if not holds]


def _at_most(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit


def _share(outcomes: "np.ndarray[Any, np.dtype[np.bool_]]") -> float | None:
    return float(outcomes.mean()) if len(outcomes) else None


def _ece_change(before: PairTable, after: PairTable, temperature: float) -> float | None:
    first, second = (reliability(pairs, temperature) for pairs in (before, after))
    return abs(second.ece - first.ece) if first and second else None


def _best_of(groups: Sequence[PreferenceGroup], wide: Rewards, narrow: Rewards) -> dict[str, float] | None:
    """Return how often the best response is the same, over groups of mean size `n`."""
    pairs = zip(by_group(wide, groups), by_group(narrow, groups), strict=True)
    several = [(first, second) for first, second in pairs if len(first) > 1]
    if not several:
        return None
    same = [np.argmax(first) == np.argmax(second) for first, second in several]
    sizes = [len(first) for first, _ in several]
    return {"agreement": float(np.mean(same)), "n": float(np.mean(sizes)), "num": len(several)}


def _timed(model: Path, trial: Trial) -> tuple[Rewards, float]:
    """Return the rewards and the CPU seconds they took."""
    session = Session(model, pad_id=trial.pad_id, cache_bytes=0)
    session.run(trial.trees[:2])
    started = time.process_time()
    rewards = session.run(trial.trees)
    return rewards, time.process_time() - started


def _dynamic(model: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    options = {"DefaultTensorType": 1, "WeightSymmetric": True}
    quantize_dynamic(model, target, weight_type=QuantType.QInt8, per_channel=True, extra_options=options)
