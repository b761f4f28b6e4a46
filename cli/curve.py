"""The learning curve as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from rllib_ez.runs.status import RECENT_EPISODES, RecentReturn

_MARKS: dict[str, Any] = {"marker": "o", "markersize": 4, "capsize": 3, "elinewidth": 0.8}


def draw_curve(
    rows: Sequence[dict[str, Any]],
    path: Path,
    *,
    title: str,
    unit: str = "env steps",
    progress: Callable[[dict[str, Any]], int] = itemgetter("env_steps"),
) -> None:
    """Draws returns over the run's progress from the rows of progress.jsonl.

    Args:
        rows: as `records.py` describes them.
        path: of the PNG.
        title: above the picture.
        unit: of `progress`.
        progress: where a row stands on the x axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    recent = RecentReturn()
    training: list[tuple[int, Any]] = [
        (progress(row), recent.add(row["train_episodes"], row["train_return_mean"]))
        for row in rows
        if row.get("train_episodes")
    ]
    played = [(progress(row), row["evaluation"]) for row in rows if "evaluation" in row]
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if training:
        axes.plot(
            [at for at, _ in training],
            [mean for _, mean in training],
            color="0.6",
            linewidth=1,
            label=f"training, mean of {RECENT_EPISODES} episodes",
        )
    if played:
        steps = [at for at, _ in played]
        mean = [evaluation["return_mean"] for _, evaluation in played]
        low = [min(evaluation["returns"]) for _, evaluation in played]
        high = [max(evaluation["returns"]) for _, evaluation in played]
        axes.fill_between(steps, low, high, color="tab:blue", alpha=0.2, linewidth=0)
        label = f"evaluation, mean and range of {len(played[-1][1]['returns'])} episodes"
        spread = [np.subtract(mean, low), np.subtract(high, mean)]
        axes.errorbar(steps, mean, yerr=spread, label=label, color="tab:blue", **_MARKS)
    axes.set(title=title, xlabel=unit, ylabel="return of an episode")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(alpha=0.3)
    if training or played:
        axes.legend(loc="best", fontsize=9)
    figure.savefig(path)
