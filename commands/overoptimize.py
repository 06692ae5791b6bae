"""Measure over-optimisation of a model on pools of rated responses: `rewardlab overoptimize`."""

from pathlib import Path
from typing import Any

import numpy as np

from commands.evaluate import described_data, read_labelled, scored_reference
from commands.overoptimization import curves, overoptimization
from rewardlab.files import write_text
from rewardlab.metrics import prompt_clusters
from rewardlab.reports import ModelOveroptimization, Spread
from steps.report.page import render_overoptimization


def overoptimize(
    model: str, data: str, *, aspect: str, name: str, parse: str | None, page: Path
) -> ModelOveroptimization:
    """Return what best-of-n under a model gains in its rewards and in the ratings, and write it as a page.

    Args:
        model: a bundle's folder, a version, an alias, or any sequence classifier of one logit.
        data: groups of many responses with ratings, such as `rewardlab make-data --pool` makes.
        aspect: which ratings stand for the truth.
        name: the registered model of bare references.
        parse: the format of the rows.
        page: the HTML file to write.

    Raises:
        ValueError: the model or the data cannot be read, the data were trained on, or hold no such ratings.
    """
    groups, num_unreadable = read_labelled(data, parse)
    rated = [group for group in groups if aspect in group.scores]
    if not rated:
        seen = sorted({known for group in groups for known in group.scores})
        raise ValueError(f"{data} holds no ratings by {aspect!r}: there are {', '.join(seen) or 'none'}")
    scored = scored_reference(model, rated, name)
    gold = [group.scores[aspect] for group in rated]
    result = ModelOveroptimization.extending(
        overoptimization(curves(scored.rewards, gold), prompt_clusters(rated)),
        model=scored.label,
        bundle=scored.digest,
        data=described_data(data, rated, num_unreadable),
        aspect=aspect,
        sd=Spread(proxy=_spread(scored.rewards), gold=_spread(gold)),
    )
    write_text(page, render_overoptimization(result))
    return result


def table(result: ModelOveroptimization) -> str:
    """Return what was found as lines for a terminal."""
    rows = [f"{result.model}: {result.num_groups} pools of {result.max_n} responses, rated by {result.aspect}"]
    rows += [f"  {'n':>4} {'KL':>6} {'proxy':>8} {'gold':>8}  95 % of gold"]
    rows += [
        f"  {row.n:>4} {row.kl:>6.2f} {row.proxy.value:>8.3f} {row.gold.value:>8.3f}  "
        f"{row.gold.low:.3f} to {row.gold.high:.3f}"
        for row in result.curve
        if row.n & (row.n - 1) == 0 or row.n == result.max_n
    ]
    peak, fit = result.peak, result.fit
    ending = "" if peak.is_inside else ", the largest that was looked at"
    rows.append(f"  gold peaks at n = {peak.value:.0f} ({peak.low:.0f} to {peak.high:.0f}){ending}")
    rows.append(f"  gold gained = d ({fit.alpha.value:.3f} {-fit.beta.value:+.3f} d), d = sqrt(KL)")
    return "\n".join(rows)


def _spread(values: Any) -> float:
    """Return the standard deviation within pools.

    Raises:
        ValueError: nothing varies, so that there is nothing to optimise.
    """
    spread = float(np.sqrt(np.mean([np.var(pool) for pool in values])))
    if not spread > 0:
        raise ValueError(
            "all responses of each pool have the same reward, or the same rating: nothing can be optimised"
        )
    return spread
