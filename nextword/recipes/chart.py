"""Curves as SVG that sits in a page and takes the page's colours.

Matplotlib draws; text stays text (searchable, in the page's font) and everything drawn in the ink placeholder becomes
`currentColor`, so that one picture serves light and dark pages.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

INK = "#010203"  # a colour that nothing else uses; replaced by the page's own
ACCENT = "#040506"
PLACEHOLDERS = {INK: "currentColor", ACCENT: "var(--accent)"}


@dataclass(frozen=True)
class Curve:
    """One line of a chart: its name, its points, and whether it is the one to look at."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    main: bool = False


def svg(curves: Sequence[Curve], x_label: str, y_label: str, title: str) -> str:
    """The chart as an `<svg>` element with a title for screen readers."""

    def draw(axes: Any) -> None:
        for curve in curves:
            colour, width = (ACCENT, 2.0) if curve.main else (INK, 0.9)
            marker = "o" if len(curve.x) < 3 else None  # a line of one or two points would not be seen
            opacity = 1.0 if curve.main else 0.55
            axes.plot(curve.x, curve.y, color=colour, linewidth=width, label=curve.name, marker=marker, alpha=opacity)
        plain(axes, x_label, y_label)
        axes.legend(frameon=False, labelcolor=INK)

    return picture(draw, title)


def plain(axes: Any, x_label: str, y_label: str) -> None:
    """Puts axes into the page's dress: two spines, faint lines, ink."""
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=INK, which="both")
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(INK)


def picture(draw: Callable[[Any], None], title: str, size: tuple[float, float] = (7.2, 3.4), panels: int = 1) -> str:
    """The `<svg>` element of what `draw` puts on a figure's axes (an array of them where there are more `panels`)."""
    import matplotlib  # noqa: PLC0415 - a second of import that only a report pays
    from matplotlib.figure import Figure  # noqa: PLC0415

    # A fixed salt makes the ids inside the picture, and so the report, the same from run to run.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nextword", "font.family": "sans-serif"}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots(1, panels, sharex=True, sharey=True))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    for placeholder, colour in PLACEHOLDERS.items():
        drawn = drawn.replace(placeholder, colour)
    label = f'<svg role="img" aria-label="{title}" '
    return drawn.replace("<svg ", label, 1)
