"""Learning curves, a panel a game."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tuning.report.look import (
    INK,
    MUTED,
    NICE_STEPS,
    PAPER,
    clipped,
    new_figure,
    say_in,
    short_number,
    sweep_colour,
)
from tuning.report.model import Report, Run

Points = tuple[np.ndarray, np.ndarray]  # [P] f64 progress, increasing; [P] f64 returns

_POINTS_OF_A_LINE = 200  # more than a panel has pixels for
# For so many panels at most: columns, width and height of one in inches.
_GRIDS = (
    (1, 1, 8.6, 4.0),
    (2, 2, 5.7, 3.2),
    (3, 3, 3.9, 2.8),
    (4, 2, 5.7, 2.9),
    (9, 3, 3.9, 2.6),
    (29, 4, 2.95, 2.1),
)
_LARGE_GRID = (5, 2.4, 1.85)


def draw_curves(report: Report) -> Figure | None:
    """A panel for every game of any sweep; None if there is none."""
    games = games_of(report)
    if not games:
        return None
    sizes = [size for most, *size in _GRIDS if len(games) <= most]
    columns, width, height = sizes[0] if sizes else _LARGE_GRID
    columns = int(columns)
    rows = math.ceil(len(games) / columns)
    figure = new_figure(columns * width + 0.4, rows * height + 0.7, layout=None)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for index, axes in enumerate(panels):
        if index < len(games):
            _draw_panel(axes, report, games[index])
        else:
            axes.remove()
    _lay_out(figure, rows, columns)
    _add_legend(figure, report)
    figure.supxlabel(_unit(report), fontsize=9, color=INK, y=0.12 / figure.get_figheight())
    side = 0.12 / figure.get_figwidth()
    figure.supylabel("return of an episode", fontsize=9, color=INK, x=side)
    return figure


def games_of(report: Report) -> list[str]:
    """Of all sweeps, each once: first as the tables have them, then those that only runs know."""
    names = [game.game for sweep in report.sweeps for game in sweep.games]
    names += [run.game for sweep in report.sweeps for run in sweep.shown_runs]
    return list(dict.fromkeys(names))


def training_points(run: Run) -> Points:
    """The mean of the last ten episodes of training, wherever there is one."""
    return _points((row["progress"], row["train_return"]) for row in run.rows)


def evaluation_points(run: Run) -> Points:
    """Every evaluation once, at the progress at which it was."""
    return _points(run.evaluations.items())


def mean_line(lines: Sequence[Points]) -> Points:
    """The mean of runs, as far as all of them have values; of one run, that run.

    Args:
        lines: a run each, at least one.

    Returns:
        [P] progress and [P] returns; empty if no progress is common to all.
    """
    if len(lines) == 1 or not all(len(steps) for steps, _ in lines):
        return lines[0] if len(lines) == 1 else _points([])
    first, last = max(steps[0] for steps, _ in lines), min(steps[-1] for steps, _ in lines)
    steps = np.linspace(first, last, _POINTS_OF_A_LINE if first < last else int(first == last))
    return steps, np.sum([np.interp(steps, *line) for line in lines], axis=0) / len(lines)


def line_in_range(line: float, returns: np.ndarray, spread: float) -> bool:
    """Whether a constant may be drawn without pressing the curve flat.

    Args:
        line: random's or the reference's return.
        returns: [P] all that the panel shows, at least one.
        spread: between random and reference; 0 where unknown.
    """
    low, high = float(np.min(returns)), float(np.max(returns))
    room = max(1.5 * (high - low), 0.5 * spread, 0.1 * abs(high))
    return low - room <= line <= high + room


def _points(pairs: Iterable[tuple[Any, Any]]) -> Points:
    kept = sorted(pair for pair in pairs if None not in pair and all(map(math.isfinite, pair)))
    steps, returns = np.array(kept, float).reshape(-1, 2).T
    return steps, returns


def _lay_out(figure: Figure, rows: int, columns: int) -> None:
    """Puts the panels where they belong: automatic layout takes seconds for 57 of them."""
    left, right, top, bottom, gap_x, gap_y = 0.75, 0.25, 0.62, 0.55, 0.55, 0.55  # inches
    width, height = figure.get_size_inches()
    panel_width = (width - left - right - gap_x * (columns - 1)) / columns
    panel_height = (height - top - bottom - gap_y * (rows - 1)) / rows
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        top=1 - top / height,
        bottom=bottom / height,
        wspace=gap_x / panel_width,
        hspace=gap_y / panel_height,
    )


def _draw_panel(axes: Axes, report: Report, game: str) -> None:
    sweeps = [[run for run in sweep.shown_runs if run.game == game] for sweep in report.sweeps]
    runs = [run for of_one in sweeps for run in of_one]
    note = _progress_note(runs)
    axes.set_title(clipped(game, 18 if note else 26), loc="left", fontsize=9)
    drawn = [_draw_runs(axes, of_one, index) for index, of_one in enumerate(sweeps)]
    returns = np.concatenate([np.empty(0), *drawn])
    if not len(returns):
        say_in(axes, _why_empty(runs))
        return
    axes.set_title(note, loc="right", fontsize=7, color=MUTED)
    _draw_constants(axes, report, game, returns)
    # A run ends with a whole round, so a little past its length.
    ends = (max(row["length"], row["progress"]) for run in runs for row in run.rows[-1:])
    axes.set_xlim(0, max(ends))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=NICE_STEPS))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=NICE_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(short_number))
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
    axes.grid(True)


def _draw_runs(axes: Axes, runs: Sequence[Run], index: int) -> np.ndarray:
    """Draws one sweep's runs of a game and returns all returns shown, [P]."""
    colour, shown = sweep_colour(index), [np.empty(0)]
    lines = [line for line in map(training_points, runs) if len(line[0])]
    for steps, returns in lines:
        steps, returns = _thinned(steps, returns)
        marker = "." if len(steps) == 1 else ""
        width, alpha = (1.6, 1.0) if len(lines) == 1 else (0.7, 0.45)
        axes.plot(steps, returns, color=colour, linewidth=width, alpha=alpha, marker=marker)
        shown.append(returns)
    if len(lines) > 1:
        axes.plot(*mean_line(lines), color=colour, linewidth=1.6)
    for run in runs:
        steps, returns = evaluation_points(run)
        axes.plot(
            steps,
            returns,
            "o",
            color=colour,
            markersize=4,
            markeredgecolor=PAPER,
            markeredgewidth=0.5,
            clip_on=False,  # the last one sits on the edge
            zorder=3,
        )
        shown.append(returns)
    return np.concatenate(shown)


def _thinned(steps: np.ndarray, returns: np.ndarray) -> Points:
    if len(steps) <= _POINTS_OF_A_LINE:
        return steps, returns
    kept = np.linspace(steps[0], steps[-1], _POINTS_OF_A_LINE)
    return kept, np.interp(kept, steps, returns)


def _draw_constants(axes: Axes, report: Report, game: str, returns: np.ndarray) -> None:
    """Random and reference as lines, or in words where they are far off."""
    found = [one for sweep in report.sweeps for one in sweep.games if one.game == game]
    if not found:
        return
    constants = {"random": found[0].random, report.reference_name: found[0].reference}
    known = {name: value for name, value in constants.items() if value is not None}
    spread = abs(max(known.values()) - min(known.values())) if len(known) == 2 else 0.0
    far = []
    for name, value in known.items():
        if line_in_range(value, returns, spread):
            style = ":" if name == "random" else "--"
            axes.axhline(value, color=MUTED, linewidth=1, linestyle=style, zorder=1)
        else:
            arrow = "↑" if value > returns.max() else "↓"
            number = f"{value:,.0f}" if abs(value) >= 100 else short_number(value)
            far.append(f"{clipped(name, 24)} {number} {arrow}")
    axes.text(
        0.98,
        0.12,  # low and late, where a curve that rises is not
        "\n".join(far),
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        color=MUTED,
        fontsize=7,
    )


def _progress_note(runs: Sequence[Run]) -> str:
    finished = sum(run.is_finished for run in runs)
    if finished == len(runs):
        return ""
    return f"{finished} of {len(runs)} finished" if finished else "unfinished"


def _why_empty(runs: Sequence[Run]) -> str:
    errors = [run.error for run in runs if run.error]
    if errors:
        return textwrap.fill(clipped(f"failed: {errors[0]}", 90), 30)
    if any(run.rows for run in runs):
        return "no finished run:\nno episode has ended yet"
    return "no finished run:\nnot started yet" if runs else "no run"


def _unit(report: Report) -> str:
    rows = [run.rows[-1] for sweep in report.sweeps for run in sweep.shown_runs if run.rows]
    for name in ("env_steps", "updates"):
        if rows and all(row["progress"] == row[name] for row in rows):
            return name.replace("_", " ")
    return "progress"


def _add_legend(figure: Figure, report: Report) -> None:
    handles = _legend(report)
    letters = sum(8 + len(str(handle.get_label())) for handle in handles)
    fits = letters * 0.08 < figure.get_figwidth()
    figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - 0.02 / figure.get_figheight()),
        ncols=len(handles) if fits else math.ceil(len(handles) / 2),
        borderaxespad=0,
    )


def _legend(report: Report) -> list[Line2D]:
    handles = [
        Line2D([], [], color=sweep_colour(index), linewidth=1.6, label=clipped(sweep.name, 28))
        for index, sweep in enumerate(report.sweeps)
    ]
    dot: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": ""}
    handles.append(Line2D([], [], color=INK, label="evaluation", **dot))
    seeds = max((len(sweep.shown_runs) for sweep in report.sweeps), default=0)
    if seeds > len(games_of(report)):
        handles.append(Line2D([], [], color=INK, linewidth=0.7, alpha=0.6, label="one seed"))
    games = [game for sweep in report.sweeps for game in sweep.games]
    dotted: dict[str, Any] = {"color": MUTED, "linewidth": 1}
    if any(game.random is not None for game in games):
        handles.append(Line2D([], [], linestyle=":", label="random", **dotted))
    if any(game.reference is not None for game in games):
        name = clipped(report.reference_name, 34)
        handles.append(Line2D([], [], linestyle="--", label=name, **dotted))
    return handles
