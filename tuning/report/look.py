"""What all pictures share: colours, an empty figure, how numbers and names are written."""

from __future__ import annotations

import math
import re
from contextlib import AbstractContextManager
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's, told apart by colour-blind eyes; without black and yellow, which vanish on a
# dark and on a light page.
SWEEP_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# The page has its own of these in a dark room (page.css), so nothing else may look the same.
INK, MUTED, GRID, PAPER = "#1b1f24", "#5f6771", "#d8dce1", "#fefefe"
NICE_STEPS = [1, 2, 2.5, 5, 10]  # of ticks; so the end of a run gets one

Layout = Literal["constrained"] | None

_SETTINGS: Any = {
    "text.parse_math": False,  # a game may be called "$1"
    "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
    "svg.hashsalt": "rllib_ez",  # the same report gives the same file
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.labelsize": 9,
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}
_TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NUMBER_SIGNS = {1e9: "B", 1e6: "M", 1e3: "k"}


def our_look() -> AbstractContextManager[None]:
    """Matplotlib's settings while a figure is drawn or written."""
    return matplotlib.rc_context(_SETTINGS)


def new_figure(width: float, height: float, *, layout: Layout = "constrained") -> Figure:
    """An empty figure, in inches, which no window and no `pyplot` knows of."""
    figure = Figure(figsize=(width, height), dpi=150, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def settle(figure: Figure) -> Figure:
    """Lays the figure out, once for all formats."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def sweep_colour(index: int) -> str:
    """Of the sweep at `index` of the report; the seventh looks like the first."""
    return SWEEP_COLOURS[index % len(SWEEP_COLOURS)]


def short_number(value: float, _position: int | None = None) -> str:
    """For a tick: 12,000 as "12k", 0.05 as "0.05", -21 as "−21"."""
    if not math.isfinite(value):
        return ""
    for size, sign in _NUMBER_SIGNS.items():
        if abs(value) >= size:
            return f"{value / size:.4g}{sign}".replace("-", "−")
    return f"{round(value, 6):.4g}".replace("-", "−")


def clipped(text: str, limit: int) -> str:
    """`text` on one line of printable characters (others break an SVG), at most `limit` long."""
    text = _TERMINAL_COLOUR.sub("", text)
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def say_in(axes: Axes, text: str) -> None:
    """Empties the panel but for a sentence."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        fontsize=8,
        in_layout=False,
    )
