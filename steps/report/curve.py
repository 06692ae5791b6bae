"""Draw over-optimisation, and write it as a page of its own."""

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from rewardlab.reports import ModelOveroptimization
from steps.report import words
from steps.report.drawing import MAIN, OTHER, SOFT, Drawing, legend
from steps.report.page import environment


def render(result: ModelOveroptimization) -> str:
    """Return the page of what `commands.overoptimization` found, with the model and the data it is about."""
    page = environment(autoescape=True).get_template("overoptimization.html.j2")
    return words.clean(page.render(result=result, plot=curve(result)))


def curve(result: ModelOveroptimization) -> Markup:
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
