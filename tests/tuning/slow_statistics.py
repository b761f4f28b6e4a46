"""Slow twins of tuning/statistics.py, in plain loops."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable

from tuning.statistics import Scores


def slow_mean(scores: Scores) -> float:
    return statistics.fmean(statistics.fmean(runs) for runs in scores.values())


def slow_median(scores: Scores) -> float:
    return statistics.median(statistics.fmean(runs) for runs in scores.values())


def slow_iqm(scores: Scores) -> float:
    runs = sorted(score for game in scores.values() for score in game)
    for _ in range(len(runs) // 4):
        runs.remove(min(runs))
        runs.remove(max(runs))
    return statistics.fmean(runs)


def slow_gap(scores: Scores) -> float:
    runs = [score for game in scores.values() for score in game]
    return statistics.fmean(1.0 - score if score < 1.0 else 0.0 for score in runs)


TWINS = {
    "mean": slow_mean,
    "median": slow_median,
    "iqm": slow_iqm,
    "optimality_gap": slow_gap,
}


def slow_improvement(first: Scores, second: Scores) -> float:
    per_game = []
    for game in first:
        points = [
            1.0 if x > y else 0.5 if x == y else 0.0 for x in first[game] for y in second[game]
        ]
        per_game.append(statistics.fmean(points))
    return statistics.fmean(per_game)


def slow_interval(scores: Scores, statistic: Callable[[Scores], float]) -> tuple[float, float]:
    rng, found = random.Random(0), []
    for _ in range(1000):
        found.append(
            statistic({game: rng.choices(runs, k=len(runs)) for game, runs in scores.items()})
        )
    cuts = statistics.quantiles(found, n=40, method="inclusive")
    return cuts[0], cuts[-1]
