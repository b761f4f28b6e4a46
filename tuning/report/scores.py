"""What sweeps came to: scores a game, aggregates with intervals, samples, comparisons.

A score is that of a run's final weights. The best checkpoint has a table of its own beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

import rllib_ez
from tuning.reading import Sweep
from tuning.report.foot import env_steps_of, foot_of, in_words, protocols_of, recipes_of
from tuning.report.games import best_score, game_scores, normalised_scores, scores_by_game
from tuning.report.model import (
    BestScores,
    Comparison,
    Estimate,
    Report,
    Run,
    SampleScores,
    SweepScores,
)
from tuning.report.notes import notes_on, planned_runs
from tuning.statistics import (
    AGGREGATES,
    improvement_interval,
    intervals,
    mean,
    median,
    probability_of_improvement,
)

SECONDS = ("seconds", "setup_seconds", "training_seconds", "evaluation_seconds")
# Of a mean a game no more can be told: the other statistics are over runs.
_OF_PUBLISHED = {"mean": mean, "median": median}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bootstrap:
    """How intervals are drawn."""

    num_resamples: int
    seed: int


def build_report(sweeps: Sequence[Sweep], *, num_resamples: int = 2000, seed: int = 0) -> Report:
    """Scores finished runs; notes name every run that is left out.

    Where a search chose settings, a sweep's scores are those of its best sample: of those whose
    runs are all finished the one with the highest normalised mean.

    Args:
        sweeps: at least one. Where names are the same, paths take their place.
        num_resamples: of the bootstrap that intervals come from, >= 1.
        seed: of its draws.
    """
    bootstrap = _Bootstrap(num_resamples=num_resamples, seed=seed)
    published, num_compared = _published(sweeps)
    scored = [
        _sweep_scores(sweep, name, bootstrap=bootstrap, num_compared=num_compared)
        for sweep, name in zip(sweeps, _names(sweeps), strict=True)
    ]
    suites = [sweep.suite for sweep in sweeps]
    suite = ", ".join(_once(suite.name for suite in suites))
    return Report(
        title=f"{suite}: {', '.join(sweep.name for sweep in scored)}",
        suite=suite,
        reference_name=" or ".join(_once(suite.reference_name for suite in suites)),
        published=published,
        sweeps=scored,
        comparisons=[
            found
            for pair in combinations(scored, 2)
            if (found := _comparison(*pair, bootstrap=bootstrap)) is not None
        ],
        sources=_once(source for suite in suites for source in suite.sources),
        made=f"{time.strftime('%Y-%m-%d %H:%M')}, rllib_ez {rllib_ez.__version__}",
    )


def _sweep_scores(
    sweep: Sweep, name: str, *, bootstrap: _Bootstrap, num_compared: int
) -> SweepScores:
    samples = _samples(sweep)
    best = samples[0].sample if samples else ""
    shown = [run for run in sweep.runs if run.sample == best]
    games = [game_scores(sweep.suite, game, shown) for game in games_of(sweep)]
    aggregates = _aggregates(normalised_scores(sweep.suite, shown), bootstrap)
    protocols = protocols_of(sweep, games_of(sweep), samples[0].settings if samples else {})
    return SweepScores(
        name=name,
        path=sweep.path,
        preset=recipes_of(sweep.order),
        env_steps=env_steps_of(sweep.order),
        protocol=in_words(protocols, sweep.order),
        protocols=[{"games": names, **one.as_json()} for one, names in protocols.items()],
        games=games,
        samples=samples,
        aggregates=aggregates,
        runs=sweep.runs,
        best_sample=best,
        seconds=_seconds(run for run in shown if run.is_finished),
        notes=notes_on(sweep, games, aggregates, num_compared=num_compared),
        best=_best_scores(sweep, shown, bootstrap),
        foot=foot_of(shown),
    )


def _best_scores(sweep: Sweep, runs: Sequence[Run], bootstrap: _Bootstrap) -> BestScores | None:
    """The second table; a title alone where every run was evaluated once."""
    counts = sorted({run.best.num_evaluations for run in runs if run.best is not None})
    if not counts:
        return None
    if counts == [1]:
        title = "Best checkpoint: none, each run was evaluated once, by its final weights"
        return BestScores(title=title, games=[], aggregates={})
    many = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    scores = normalised_scores(sweep.suite, runs, best_score)
    return BestScores(
        title=f"Best checkpoint: each run's highest of {many} evaluations, so biased upwards",
        games=[game_scores(sweep.suite, game, runs, best_score) for game in games_of(sweep)],
        aggregates=_aggregates(scores, bootstrap),
    )


def games_of(sweep: Sweep) -> list[str]:
    """Those that were ordered, then others that are there."""
    return _once([*sweep.order["games"], *(run.game for run in sweep.runs)])


def _aggregates(scores: Mapping[str, np.ndarray], bootstrap: _Bootstrap) -> dict[str, Estimate]:
    if not scores:
        return {}
    spans = intervals(scores, num_resamples=bootstrap.num_resamples, seed=bootstrap.seed)
    return {
        name: _estimate(statistic(scores), spans[name] if spans else None)
        for name, statistic in AGGREGATES.items()
    }


def _estimate(value: float, span: tuple[float, float] | None) -> Estimate:
    low, high = span or (None, None)
    return Estimate(value=float(value), low=low, high=high)


def _samples(sweep: Sweep) -> list[SampleScores]:
    """Best first; those of which a run is missing come after all others."""
    settings = {run.sample: run.settings for run in sweep.runs}
    if not sweep.order.get("search") and set(settings) <= {""}:
        return []
    return sorted(
        (_sample_scores(sweep, sample, settings[sample]) for sample in settings),
        key=lambda one: _rank(sweep, one),
        reverse=True,
    )


def _sample_scores(sweep: Sweep, sample: str, settings: Mapping[str, object]) -> SampleScores:
    runs = [run for run in sweep.runs if run.sample == sample]
    scores = normalised_scores(sweep.suite, runs)
    return SampleScores(
        sample=sample,
        settings=settings,
        num_finished=sum(run.score is not None for run in runs),
        num_runs=len(planned_runs(sweep, sample)),
        normalised=float(mean(scores)) if scores else None,
    )


def _rank(sweep: Sweep, one: SampleScores) -> tuple[bool, float, int]:
    """The greater the better. Without constants raw returns have to do: notes say so."""
    value = one.normalised
    if value is None:
        scores = scores_by_game(run for run in sweep.runs if run.sample == one.sample)
        value = float(mean(scores)) if scores else -np.inf
    return one.num_finished == one.num_runs, value, one.num_finished


def _comparison(
    first: SweepScores, second: SweepScores, *, bootstrap: _Bootstrap
) -> Comparison | None:
    """On raw scores, which order runs as normalised ones do; None without a game in common."""
    ours, theirs = scores_by_game(first.shown_runs), scores_by_game(second.shown_runs)
    if not ours.keys() & theirs.keys():
        return None
    value, per_game = probability_of_improvement(ours, theirs)
    span = improvement_interval(
        ours, theirs, num_resamples=bootstrap.num_resamples, seed=bootstrap.seed
    )
    return Comparison(
        first=first.name,
        second=second.name,
        probability=_estimate(value, span),
        per_game={game: per_game[game] for game in ours if game in per_game},
    )


def _published(sweeps: Sequence[Sweep]) -> tuple[dict[str, dict[str, Estimate]], int]:
    """Column: aggregates over the games that have all values, and how many games these are.

    Of the games that a sweep has a score for; of all, while there is none.
    """
    columns: dict[str, dict[str, float]] = {}  # column: game: normalised
    scored = {run.game for sweep in sweeps for run in sweep.runs if run.score is not None}
    for sweep in sweeps:
        for column, by_game in sweep.suite.published.items():
            for name in games_of(sweep):
                value = by_game.get(sweep.suite.find(name).name)
                share = None if value is None else sweep.suite.normalise(name, value)
                if share is not None and (name in scored or not scored):
                    columns.setdefault(column, {}).setdefault(name, share)
    games = set.intersection(*map(set, columns.values())) if columns else set()
    if not games:
        return {}, 0
    found = {
        column: {
            statistic: _estimate(of({game: np.array([by_game[game]]) for game in games}), None)
            for statistic, of in _OF_PUBLISHED.items()
        }
        for column, by_game in columns.items()
    }
    return found, len(games)


def _seconds(runs: Iterable[Run]) -> dict[str, float]:
    """Means over runs of what their rows tell."""
    last = [run.rows[-1] for run in runs]
    told = {name: [row[name] for row in last if row[name] is not None] for name in SECONDS}
    return {name: float(np.mean(values)) for name, values in told.items() if values}


def over_training(seconds: Mapping[str, float]) -> float | None:
    """What a run takes, set-up and evaluation included, over its training alone."""
    training = seconds.get("training_seconds")
    if not training or "seconds" not in seconds:
        return None
    return (seconds["seconds"] + seconds.get("setup_seconds", 0.0)) / training


def _names(sweeps: Sequence[Sweep]) -> list[str]:
    names = [sweep.name for sweep in sweeps]
    return [
        sweep.path if names.count(name) > 1 else name
        for sweep, name in zip(sweeps, names, strict=True)
    ]


def _once(texts: Iterable[str]) -> list[str]:
    """Each once, in the order in which they come."""
    return list(dict.fromkeys(texts))
