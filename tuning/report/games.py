"""Finished runs by game: what final weights or best checkpoints score, and a table's line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tuning.report.model import GameScores, Run
from tuning.suites import Suite

Measure = Callable[[Run], float | None]  # of a run; None: it does not count


def final_score(run: Run) -> float | None:
    """What counts: the final weights' mean return."""
    return run.score


def best_score(run: Run) -> float | None:
    """The highest of a finished run's evaluations."""
    return None if run.best is None else run.best.return_mean


def game_scores(
    suite: Suite, name: str, runs: Sequence[Run], measure: Measure = final_score
) -> GameScores:
    """One game's line, of the runs of one sample."""
    found = ((run.seed, measure(run)) for run in runs if run.game == name)
    scores = {seed: value for seed, value in found if value is not None}
    values = np.array(list(scores.values()), np.float64)
    average = float(values.mean()) if len(values) else None
    game = suite.find(name)
    return GameScores(
        game=name,
        random=game.random,
        reference=game.reference,
        published={
            column: by_game[game.name]
            for column, by_game in suite.published.items()
            if game.name in by_game
        },
        scores=scores,
        mean=average,
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        normalised=None if average is None else suite.normalise(name, average),
    )


def scores_by_game(runs: Iterable[Run], measure: Measure = final_score) -> dict[str, np.ndarray]:
    """game: [seeds] f64, of finished runs; games without any are left out."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if (value := measure(run)) is not None:
            found.setdefault(run.game, []).append(value)
    return {game: np.array(values, np.float64) for game, values in found.items()}


def normalised_scores(
    suite: Suite, runs: Iterable[Run], measure: Measure = final_score
) -> dict[str, np.ndarray]:
    """The same, normalised; games without constants are left out as well."""
    found = {
        game: [suite.normalise(game, score) for score in values.tolist()]
        for game, values in scores_by_game(runs, measure).items()
    }
    return {
        game: np.array(values, np.float64) for game, values in found.items() if None not in values
    }
