"""Draw the figures of a run's page, and over-optimisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from rewardlab.metrics import Estimate
from rewardlab.reports import Calibration, Distribution, HistoryRow, ModelOveroptimization, TrainingReport
from steps.report.drawing import FILL, INK, MAIN, OTHER, SOFT, Drawing, legend
from steps.report.words import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ROWS = 40


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a forest plot; `ghost` is what it is held against."""

    label: str
    measure: Estimate | None
    main: bool = True
    ghost: Estimate | None = None


def forest(rows: Sequence[Row], *, key: str, title: str, label: str = "accuracy") -> Markup | None:
    """Draw measures with their intervals beside the line of chance at 0.5; `None` where nothing was measured."""
    known = [(row, row.measure) for row in rows if row.measure][:MAX_ROWS]
    if not known:
        return None
    with Drawing(key, height=52 + 25 * len(known)) as drawing:
        axes = drawing.axes(left=118, right=44, top=10)
        axes.plot([0.5, 0.5], [-0.6, len(known) - 0.4], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        for line, (row, measure) in enumerate(known):
            _whisker(axes, line, row, measure)
        axes.set_yticks(range(len(known)), [_shorten(row.label) for row, _ in known], color=INK)
        axes.set_ylim(len(known) - 0.4, -0.6)
        axes.set_xlim(*_limits([row for row, _ in known]))
        axes.set_xlabel(label)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        words = "; ".join(f"{row.label} {number(measure.value)}" for row, measure in known)
        return drawing.svg(title, f"{words}. The dashed line is 0.5.")


def training_curve(training: TrainingReport | None) -> Markup | None:
    """Draw loss, and accuracy where it was measured, against the optimizer step."""
    if not training or not training.history:
        return None
    history = training.history
    panels: list[tuple[str, tuple[tuple[str, str, str], ...]]] = [
        ("loss", (("train_loss", "training", OTHER), ("validation_loss", "validation", MAIN))),
        ("accuracy", (("validation_accuracy", "validation", MAIN),)),
    ]
    with Drawing("training", height=40 + 140 * len(panels)) as drawing:
        for index, (label, lines) in enumerate(panels):
            axes = drawing.axes(left=50, right=12, top=22, part=(index, len(panels)))
            _panel(axes, history, label, lines, training.best_step)
        axes.set_xlabel("step")
        last = history[-1]
        words = f"From step {history[0].step} to {last.step}; last training loss {number(last.train_loss)}."
        return drawing.svg("Loss and validation accuracy by step", words)


def reliability_plot(ece: Calibration | None) -> Markup | None:
    """Draw how often the better response wins against how often that was predicted, before and after calibration.

    Where only the calibrated bins are given, the bins before are the same comparisons with the temperature taken out
    of their predictions, as P = sigmoid(difference / temperature).
    """
    if not ece or not ece.bins:
        return None
    with Drawing("reliability", height=300) as drawing:
        axes = drawing.axes(left=50, right=14, top=24)
        after, observed, size = (
            np.array([getattr(bin_, name) for bin_ in ece.bins]) for name in ("predicted", "observed", "num")
        )
        low = 0.5 if after.min() >= 0.5 else 0.0
        bottom = min(low, float(observed.min()))
        axes.plot([low, 1], [low, 1], color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
        before = _without_temperature(after, ece.temperature)
        if before is not None:
            axes.plot(before, observed, color=OTHER, marker="o", mfc="none", markersize=4, linewidth=1, label="before")
        axes.plot(after, observed, color=MAIN, linewidth=1.4)
        axes.scatter(
            after,
            observed,
            s=14 + 90 * size / size.max(),
            color=MAIN,
            linewidths=0,
            label="after",
            clip_on=False,
            zorder=3,
        )
        axes.set(xlim=(low, 1.01), ylim=(bottom, 1.01), xlabel="predicted P(win)", ylabel="observed share of wins")
        axes.grid()
        legend(axes)
        return drawing.svg("Reliability of the predicted preference", f"Expected error {number(ece.value)}.")


def histogram(rewards: Distribution | None) -> Markup | None:
    """Draw how the rewards are distributed, with their median and 5 % and 95 % quantiles."""
    if not rewards or not rewards.histogram:
        return None
    bins = rewards.histogram
    with Drawing("rewards", height=230) as drawing:
        axes = drawing.axes(left=50, right=14, top=24)
        axes.stairs(bins.counts, bins.edges, fill=True, color=FILL)
        axes.stairs(bins.counts, bins.edges, color=MAIN, linewidth=1.2)
        for name, value in sorted(rewards.quantiles.items()):
            if name in {"0.05", "0.5", "0.95"}:
                axes.axvline(value, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
                place = axes.get_xaxis_transform()
                axes.text(value, 1.02, f"{float(name):.0%}", transform=place, ha="center", va="bottom", color=SOFT)
        axes.set(xlabel="reward", ylabel="responses", ylim=(0, None))
        axes.grid(axis="y")
        return drawing.svg("Histogram of rewards", f"{number(rewards.num)} responses.")


def length_scatter(points: Sequence[tuple[float, float]]) -> Markup | None:
    """Draw reward against response length, with the median reward of each tenth of the responses."""
    if not points:
        return None
    with Drawing("length", height=260) as drawing:
        axes = drawing.axes(left=50, right=14, top=24)
        length, reward = np.array(points, dtype=float).T
        axes.plot(length, reward, "o", color=MAIN, markersize=3, alpha=0.35, markeredgewidth=0, label="one response")
        if len(points) >= 30:
            parts = np.array_split(np.argsort(length, kind="stable"), 10)
            middle = [(np.median(length[part]), np.median(reward[part])) for part in parts]
            axes.plot(*zip(*middle, strict=True), color=OTHER, linewidth=2, label="median")
        if length.min() > 0 and length.max() > 30 * length.min():
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set(xlabel="response length, characters", ylabel="reward")
        axes.grid()
        legend(axes)
        return drawing.svg("Reward by response length", f"{len(points)} responses.")


def overoptimization_curve(result: ModelOveroptimization) -> Markup:
    """Draw what proxy and gold gain against KL, each in standard deviations of the pools, the fit, and the peak."""
    kl = np.array([row.kl for row in result.curve])
    with Drawing("overoptimization", height=300) as drawing:
        axes = drawing.axes(left=50, right=14, top=24)
        for name, colour in (("proxy", OTHER), ("gold", MAIN)):
            value, low, high = (_gain(result, name, end) for end in ("value", "low", "high"))
            axes.fill_between(kl, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(kl, value, color=colour, linewidth=1.6, label=name)
        d, alpha, beta = np.sqrt(kl), result.fit.alpha.value, result.fit.beta.value
        fitted = d * (alpha - beta * d) / result.sd.gold
        axes.plot(kl, fitted, color=SOFT, linestyle=(0, (4, 3)), linewidth=1, label="fit")
        axes.axvline(result.peak.kl, color=SOFT, linewidth=1)
        axes.set(xlabel="KL from the policy, nats: log n - (n - 1) / n", ylabel="gain, s.d.")
        axes.grid()
        legend(axes)
        text = f"Gold peaks at n = {result.peak.value:.0f} of {result.max_n}; the vertical line is there."
        return drawing.svg("Proxy and gold under best-of-n", text)


def _gain(result: ModelOveroptimization, name: str, end: str) -> npt.NDArray[np.float64]:
    """Return what n gains over n = 1, or an end of its interval."""
    gains = [getattr(getattr(row.gain, name), end) for row in result.curve]
    sd: float = getattr(result.sd, name)
    return np.asarray(gains, dtype=np.float64) / sd


def _whisker(axes: "Axes", line: int, row: Row, measure: Estimate) -> None:
    colour = MAIN if row.main else OTHER
    if row.ghost:
        axes.plot(row.ghost.value, line, "o", markersize=8, mfc="none", mec=OTHER, mew=1.4)
    axes.plot([measure.low, measure.high], [line, line], color=colour, linewidth=2, solid_capstyle="round")
    axes.plot(measure.value, line, "o" if row.main else "D", markersize=6 if row.main else 5, color=colour)
    place = axes.get_yaxis_transform()
    axes.text(1.03, line, number(measure.value), transform=place, va="center", ha="left", color=colour)


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    measures = [measure for row in rows for measure in (row.measure, row.ghost) if measure]
    values = [value for measure in measures for value in (measure.value, measure.low, measure.high)]
    low, high = min(0.5, *values), max(0.5, *values)
    pad = 0.06 * max(high - low, 0.05)
    return low - pad, high + pad


def _panel(axes: "Axes", history: Sequence[HistoryRow], label: str, lines: Any, best_step: int) -> None:
    for field, name, colour in lines:
        points = [(row.step, getattr(row, field)) for row in history]
        marker = "o" if len(points) <= 30 else ""
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.5, marker=marker, markersize=3, label=name)
    axes.axvline(best_step, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylabel(label)
    axes.grid(axis="y")
    legend(axes)


def _without_temperature(predicted: Any, temperature: float | None) -> Any:
    if not temperature:
        return None
    bounded = np.clip(predicted, 1e-6, 1 - 1e-6)
    return 1 / (1 + np.exp(-temperature * np.log(bounded / (1 - bounded))))


def _shorten(text: str, limit: int = 17) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
