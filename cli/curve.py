"""The learning curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_MARKS: dict[str, Any] = {"marker": "o", "markersize": 4, "capsize": 3, "elinewidth": 0.8}


def draw_curve(rows: Sequence[dict[str, Any]], path: Path, *, title: str) -> None:
    """Draws returns over env steps from the rows of progress.jsonl.

    Args:
        rows: as `records.py` describes them.
        path: of the PNG.
        title: above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    key = "train_return_mean"
    training = [(row["env_steps"], row[key]) for row in rows if row.get(key) is not None]
    played = [(row["env_steps"], row["evaluation"]) for row in rows if "evaluation" in row]
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if training:
        steps, returns = zip(*training, strict=True)
        axes.plot(steps, returns, color="0.6", linewidth=1, label="training, mean of last episodes")
    if played:
        steps = [at for at, _ in played]
        mean = [evaluation["return_mean"] for _, evaluation in played]
        low = [min(evaluation["returns"]) for _, evaluation in played]
        high = [max(evaluation["returns"]) for _, evaluation in played]
        axes.fill_between(steps, low, high, color="tab:blue", alpha=0.2, linewidth=0)
        label = f"evaluation, mean and range of {len(played[-1][1]['returns'])} episodes"
        spread = [np.subtract(mean, low), np.subtract(high, mean)]
        axes.errorbar(steps, mean, yerr=spread, label=label, color="tab:blue", **_MARKS)
    axes.set(title=title, xlabel="env steps", ylabel="return of an episode")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(alpha=0.3)
    if training or played:
        axes.legend(loc="best", fontsize=9)
    figure.savefig(path)
