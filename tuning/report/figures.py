"""The pictures of a report, and how they become files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tuning.report.charts import draw_aggregates, draw_improvement, draw_normalised, draw_profile
from tuning.report.curves import draw_curves
from tuning.report.look import our_look
from tuning.report.model import Report

_PAINTERS: dict[str, Callable[[Report], Figure | None]] = {
    "aggregates": draw_aggregates,
    "curves": draw_curves,
    "normalised": draw_normalised,
    "profile": draw_profile,
    "improvement": draw_improvement,
}
# Without a date the same report gives the same file.
_METADATA: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}}


def draw_figures(report: Report) -> dict[str, Figure]:
    """Every picture that the report has the data for, by name.

    "curves": returns over training, a panel a game. "aggregates": statistics over games with
    intervals, published ones below. "profile": share of runs above a score. "normalised": a bar
    a game. "improvement": probability that one sweep beats another.
    """
    with our_look():
        drawn = {name: draw(report) for name, draw in _PAINTERS.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def save_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Writes every figure as PNG and SVG, "curves.png", and returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for name in figures for kind in _METADATA]
    with our_look():
        for path in paths:
            metadata = _METADATA[path.suffix[1:]]
            figures[path.stem].savefig(path, dpi=150, facecolor="white", metadata=metadata)
    return paths
