"""Figures as inline SVG that follow their page's colours and size their text for a phone."""

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stand for the page's own: `_inline` turns each into a CSS variable, so dark mode needs no second drawing.
INK, SOFT, GRID, MAIN, OTHER, FILL = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06"
_VARIABLES = {INK: "ink", SOFT: "soft", GRID: "line", MAIN: "main", OTHER: "other", FILL: "fill"}
_WIDTH = 360  # drawing units; close to the width of a phone, so that text keeps its size there
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.size": 0,
    "text.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}


class Drawing:
    """A figure in the page's style; settings and the warning about glyphs hold inside the block only."""

    def __init__(self, key: str, *, height: int) -> None:
        self.key, self.height = key, height

    def __enter__(self) -> "Drawing":
        import matplotlib
        from matplotlib.figure import Figure

        settings: Any = {**_STYLE, "svg.hashsalt": self.key}
        self._settings = matplotlib.rc_context(settings)
        self._settings.__enter__()
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        # The reader's fonts draw the text; matplotlib's own font only measures it and need not know every script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        self.figure: Figure = Figure(figsize=(_WIDTH / 72, self.height / 72))
        return self

    def __exit__(self, *error: object) -> None:
        self._warnings.__exit__(None, None, None)
        self._settings.__exit__(None, None, None)

    def axes(self, *, left: int, right: int, top: int, part: tuple[int, int] = (0, 1)) -> "Axes":
        """Add axes with margins in drawing units, as one of `part[1]` panels from top to bottom."""
        index, count = part
        bottom = 38
        share = (self.height - bottom + 18) / count
        base = bottom + (count - 1 - index) * share
        size = (_WIDTH - left - right, share - top - 18)
        return self.figure.add_axes(
            (left / _WIDTH, base / self.height, size[0] / _WIDTH, size[1] / self.height), facecolor="none"
        )

    def svg(self, title: str, description: str) -> Markup:
        """Return the figure as an element of the page."""
        self.figure.patch.set_visible(False)
        text = io.StringIO()
        self.figure.savefig(text, format="svg", metadata={"Date": None})
        return _inline(text.getvalue(), key=self.key, title=title, description=description)


def _inline(text: str, *, key: str, title: str, description: str) -> Markup:
    """Return a matplotlib SVG as an element that names itself, loads nothing and takes its colours from the page."""
    height, body = re.search(r'viewBox="0 0 \S+ (\S+)"', text), text[text.index("<g id=") : text.rindex("</svg>")]
    if not height:
        raise ValueError("matplotlib wrote an SVG without a viewBox: pin matplotlib to the locked version")
    body = re.sub(r'<g id="[^"]*">', "<g>", re.sub(r'<g id="[^"]*" ?/>', "", body))
    body = re.sub(r"font-family: [^;\"]*;?", "", re.sub(r"font: (\S+) [^;\"]*", r"font-size: \1", body))
    body = re.sub(r"\s+", " ", body).replace("> <", "><")
    for colour, name in _VARIABLES.items():
        body = body.replace(colour, f"var(--{name})")
    return Markup(  # noqa: S704 (matplotlib escapes the text it draws; a test feeds it markup)
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {height[1]}" role="img" aria-labelledby="{key}-title {key}-desc">'
        f'<title id="{key}-title">{escape(title)}</title><desc id="{key}-desc">{escape(description)}</desc>{body}</svg>'
    )


def legend(axes: "Axes") -> None:
    """Name the lines of a figure above it, if any has a name."""
    if not axes.get_legend_handles_labels()[0]:
        return
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.02, 0.985), ncols=3, borderpad=0, handlelength=1.4, columnspacing=1.2
    )
