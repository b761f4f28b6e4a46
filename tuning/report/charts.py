"""Pictures of scores: aggregates, profile, bars a game, probability of improvement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from tuning.report.look import (
    INK,
    MUTED,
    NICE_STEPS,
    PAPER,
    clipped,
    new_figure,
    settle,
    short_number,
    sweep_colour,
)
from tuning.report.model import Estimate, GameScores, Report, SweepScores
from tuning.statistics import performance_profile

_AGGREGATES = {
    "iqm": "IQM",
    "median": "median",
    "mean": "mean",
    "optimality_gap": "optimality gap\n(less is better)",
}
_MOST_OF_A_PROFILE = 8.0  # normalised score: one game far out would hide the rest
_LONGEST_LINEAR = 6.0  # normalised score: beyond it bars go on logarithmic from 1 on


def draw_aggregates(report: Report) -> Figure | None:
    """Statistics over games with their intervals, published columns below ours."""
    ours = [
        (sweep.name, sweep.aggregates, sweep_colour(i)) for i, sweep in enumerate(report.sweeps)
    ]
    ours = [row for row in ours if any(_is_known(one) for one in row[1].values())]
    if not ours:
        return None
    theirs = [(name, estimates, MUTED) for name, estimates in report.published.items()]
    rows = ours + [row for row in theirs if any(_is_known(one) for one in row[1].values())]
    figure = new_figure(11.4, 0.95 + 0.32 * len(rows))
    panels = figure.subplots(1, len(_AGGREGATES), sharey=True)
    for axes, (key, title) in zip(panels, _AGGREGATES.items(), strict=True):
        axes.set_title(title, fontsize=9)
        for place, (_, estimates, colour) in enumerate(rows):
            estimate = estimates.get(key)
            if estimate is not None and _is_known(estimate):
                _draw_estimate(axes, estimate, place, colour)
        _number_axis(axes)
        axes.use_sticky_edges = False  # a bar would stand on the edge
        axes.margins(x=0.12)
    panels[0].set_yticks(range(len(rows)), [clipped(name, 28) for name, *_ in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.supxlabel(_axis_name(report), fontsize=9, color=INK)
    return settle(figure)


def draw_profile(report: Report) -> Figure | None:
    """Which share of runs beats a normalised score, for sweeps of two games or three runs."""
    found = [(index, normalised_scores(sweep)) for index, sweep in enumerate(report.sweeps)]
    found = [(i, by_game) for i, by_game in found if _is_worth_a_profile(by_game)]
    if not found:
        return None
    every = np.concatenate([scores for _, by_game in found for scores in by_game.values()])
    high = float(np.clip(every.max() * 1.05, 1.1, _MOST_OF_A_PROFILE))
    thresholds = np.linspace(min(0.0, float(every.min())) - 0.02, high, 400)
    figure = new_figure(8.6, 3.8)
    axes = figure.add_subplot()
    for index, by_game in found:
        shares = performance_profile(by_game, thresholds)
        axes.plot(thresholds, shares, color=sweep_colour(index), linewidth=1.8)
    axes.axvline(1, color=MUTED, linewidth=1, linestyle="--")
    axes.set(xlabel=_axis_name(report), ylabel="share of runs above it", ylim=(-0.02, 1.04))
    axes.set_xlim(thresholds[0], high)
    axes.grid(True)
    _add_legend(figure, [_key_of(report, index, linewidth=1.8) for index, _ in found])
    return settle(figure)


def draw_normalised(report: Report) -> Figure | None:
    """A bar a game, best first, with what was published beside it."""
    found = {game.game: game for sweep in report.sweeps for game in sweep.games if _has_scale(game)}
    ours = [
        {game.game: game.normalised for game in sweep.games if game.normalised is not None}
        for sweep in report.sweeps
    ]
    best = {name: max((one[name] for one in ours if name in one), default=None) for name in found}
    if all(value is None for value in best.values()):
        return None
    rank = {name: -math.inf if value is None else value for name, value in best.items()}
    names = sorted(found, key=lambda name: -rank[name])
    figure = new_figure(8.6, 1.2 + len(names) * (0.14 + 0.12 * len(ours)))
    axes = figure.add_subplot()
    thick = 0.8 / len(ours)
    for index, by_game in enumerate(ours):
        places = np.arange(len(names)) - 0.4 + thick * (index + 0.5)
        values = [by_game.get(name, 0.0) for name in names]
        axes.barh(places, values, thick * 0.9, color=sweep_colour(index))
    for place, name in enumerate(names):
        if best[name] is None:
            _say_beside(axes, place, "no finished run")
    handles = [_key_of(report, index, linewidth=7) for index in range(len(ours))]
    handles += _mark_published(axes, report, [found[name] for name in names])
    _finish_bars(axes, report, names)
    _add_legend(figure, handles)
    return settle(figure)


def draw_improvement(report: Report) -> Figure | None:
    """How probably a run of one sweep beats one of another, with intervals."""
    if not report.comparisons:
        return None
    figure = new_figure(8.6, 1.0 + 0.4 * len(report.comparisons))
    axes = figure.add_subplot()
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle="--", zorder=1)
    for place, comparison in enumerate(report.comparisons):
        _draw_estimate(axes, comparison.probability, place, sweep_colour(0))
    names = [
        f"{clipped(one.first, 22)} beats\n{clipped(one.second, 22)}" for one in report.comparisons
    ]
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
    axes.set_xlabel("probability that a run of the first beats one of the second (0.5: alike)")
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)
    return settle(figure)


def normalised_scores(sweep: SweepScores) -> dict[str, np.ndarray]:
    """Game: normalised scores of its finished runs [seeds]; games without a scale are left out."""
    return {
        game.game: np.array([_normalised(game, score) for score in game.scores.values()])
        for game in sweep.games
        if _has_scale(game) and game.scores
    }


def chosen_column(report: Report) -> str | None:
    """The published column to set beside ours: EfficientZero's where there is one."""
    known = {name for sweep in report.sweeps for game in sweep.games for name in game.published}
    ordered = [*(name for name in report.published if name in known), *sorted(known)]
    ordered.sort(key=lambda name: "efficientzero" not in name.lower().replace("_", ""))
    return ordered[0] if ordered else None


def _mark_published(axes: Axes, report: Report, games: Sequence[GameScores]) -> list[Line2D]:
    """Marks the chosen column and returns what the legend shows of it."""
    column = chosen_column(report)
    places = [place for place, game in enumerate(games) if column in game.published]
    if column is None or not places:
        return []
    values = [_normalised(games[place], games[place].published[column]) for place in places]
    look: dict[str, Any] = {"markersize": 5, "markeredgecolor": PAPER, "markeredgewidth": 0.6}
    lines = axes.plot(values, places, "D", color=INK, **look)
    lines[0].set_label(f"{clipped(column, 30)}, published")
    return lines


def _say_beside(axes: Axes, place: float, text: str) -> None:
    look: dict[str, Any] = {"color": MUTED, "fontsize": 7, "va": "center"}
    axes.annotate(text, (0, place), xytext=(4, 0), textcoords="offset points", **look)


def _finish_bars(axes: Axes, report: Report, names: Sequence[str]) -> None:
    low, high = axes.get_xlim()
    if high > _LONGEST_LINEAR:
        axes.set_xscale("symlog", linthresh=1, linscale=1)
        ticks = [-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]
        axes.xaxis.set_major_locator(FixedLocator([at for at in ticks if low <= at <= high]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(FuncFormatter(short_number))
    scale = ", logarithmic from 1 on" if axes.get_xscale() == "symlog" else ""
    axes.set_xlabel(_axis_name(report) + scale)
    axes.set_yticks(range(len(names)), [clipped(name, 28) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.axvline(1, color=MUTED, linewidth=1, linestyle="--", zorder=1)
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _key_of(report: Report, index: int, *, linewidth: float) -> Line2D:
    name = clipped(report.sweeps[index].name, 34)
    return Line2D([], [], color=sweep_colour(index), linewidth=linewidth, label=name)


def _add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    # Not of the axes: those leave out what begins with an underscore.
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 3))


def _draw_estimate(axes: Axes, estimate: Estimate, place: float, colour: str) -> None:
    if estimate.low is not None and estimate.high is not None:
        width = estimate.high - estimate.low
        axes.barh(place, width, 0.56, left=estimate.low, color=colour, alpha=0.45)
    axes.plot(estimate.value, place, "D" if colour == MUTED else "o", color=colour, markersize=6)


def _is_known(estimate: Estimate) -> bool:
    return math.isfinite(estimate.value)


def _is_worth_a_profile(by_game: Mapping[str, np.ndarray]) -> bool:
    return len(by_game) >= 2 or sum(map(len, by_game.values())) >= 3


def _has_scale(game: GameScores) -> bool:
    return None not in (game.random, game.reference) and game.random != game.reference


def _normalised(game: GameScores, score: float) -> float:
    assert game.random is not None, game.game
    assert game.reference is not None, game.game
    return (score - game.random) / (game.reference - game.random)


def _axis_name(report: Report) -> str:
    return f"normalised score: 0 random, 1 {clipped(report.reference_name, 40)}"


def _number_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=NICE_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(short_number))
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
