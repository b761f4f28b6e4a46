"""What many runs on many games come to, and how sure that is.

Scores are normalised (0 a random player, 1 the reference) and come by game: `{game: [..., M]}`,
f64, of M runs (seeds) of that game; M may differ from game to game. Any axes before the last are
carried along, which is how all resamples of a bootstrap are summed up at once.

Where games have unequal numbers of runs: `mean`, `median` and the probability of improvement
weigh games alike, whatever their runs; `iqm`, `optimality_gap` and `performance_profile` weigh
runs alike, so there a game with more runs counts for more.

Source: Agarwal et al. 2021, arXiv:2108.13264 (sections 4.1 to 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from rllib_ez.errors import SettingError

Scores = Mapping[str, np.ndarray]  # game: [..., M]
Statistic = Callable[[Scores], Any]  # a float, of [..., M] an array [...]

_TRIMMED = 0.25  # of the runs, at either end


def mean(scores: Scores) -> Any:
    """The mean over games of each game's mean over runs.

    Raises:
        ValueError: there are no games, a game has no runs, or a score is not finite. So do all
            functions here.
    """
    return _game_means(scores).mean(-1)


def median(scores: Scores) -> Any:
    """The median over games of each game's mean over runs; between two, their mean."""
    return np.median(_game_means(scores), -1)


def iqm(scores: Scores) -> Any:
    """The interquartile mean: of all runs on all games, without the best and worst quarter.

    mean(sorted(all)[k : n - k]),  k = floor(n / 4),  n = the number of all runs
    """
    runs = np.sort(_all_runs(scores), -1)
    num_trimmed = int(_TRIMMED * runs.shape[-1])
    return runs[..., num_trimmed : runs.shape[-1] - num_trimmed].mean(-1)


def optimality_gap(scores: Scores) -> Any:
    """By how much runs miss the reference: the mean over all of max(0, 1 - score)."""
    return np.maximum(0.0, 1.0 - _all_runs(scores)).mean(-1)


AGGREGATES: dict[str, Statistic] = {
    "mean": mean,
    "median": median,
    "iqm": iqm,
    "optimality_gap": optimality_gap,
}


def intervals(
    scores: Scores,
    statistics: Mapping[str, Statistic] = AGGREGATES,
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]] | None:
    """Percentile intervals by the stratified bootstrap.

    A resample draws, in each game by itself, as many runs as it has, with replacement. Games
    stay as they are: the interval is for other seeds on these games, not for other games. A game
    with one run adds nothing to its width; the order of the games plays no part.

    Args:
        scores: game: [M].
        statistics: name: a function such as those above, which takes [num_resamples, M].
        num_resamples: >= 1.
        confidence: how often the interval is to hold the truth, in (0, 1).
        seed: of the draws.

    Returns:
        name: (low, high); None if no game has two runs.
    """
    quantiles = _quantiles(num_resamples, confidence)
    scores = _checked_runs(scores)
    if all(len(runs) < 2 for runs in scores.values()):
        return None
    resampled = _resampled(scores, num_resamples, np.random.default_rng(seed))
    return {name: _ends(statistic(resampled), quantiles) for name, statistic in statistics.items()}


def probability_of_improvement(first: Scores, second: Scores) -> tuple[float, dict[str, float]]:
    """How likely a run of `first` beats one of `second` on a game drawn from those of both.

        mean over games of  P(X > Y) + P(X = Y) / 2     over all pairs of a game's runs

    Each game's term is Mann and Whitney's U over the number of pairs.

    Returns:
        The probability, and each game's.

    Raises:
        ValueError: there is no game that both have.
    """
    games = _shared_games(first, second)
    per_game = {game: float(_wins(*pair).mean()) for game, pair in games.items()}
    return float(np.mean(list(per_game.values()))), per_game


def improvement_interval(
    first: Scores,
    second: Scores,
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The interval of `probability_of_improvement`; both sides are resampled as in `intervals`.

    Returns:
        (low, high); None if on no shared game either side has two runs.
    """
    quantiles = _quantiles(num_resamples, confidence)
    games = _shared_games(first, second)
    if all(max(len(x), len(y)) < 2 for x, y in games.values()):
        return None
    rng = np.random.default_rng(seed)
    total = np.zeros(num_resamples)
    for x, y in games.values():
        drawn_x = _draws(len(x), num_resamples, rng)
        drawn_y = _draws(len(y), num_resamples, rng)
        wins = _wins(x, y)
        total += wins[drawn_x[:, :, None], drawn_y[:, None, :]].mean((1, 2))
    return _ends(total / len(games), quantiles)


def performance_profile(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """The fraction of all runs on all games that score more than each threshold.

    Args:
        scores: game: [M].
        thresholds: [S], normalised scores in any order.

    Returns:
        [S] f64, in [0, 1].
    """
    runs = np.sort(np.concatenate(list(_checked_runs(scores).values())))
    at_most = np.searchsorted(runs, np.asarray(thresholds, np.float64), side="right")
    return 1.0 - at_most / len(runs)


def _game_means(scores: Scores) -> np.ndarray:
    """[..., games]."""
    return np.stack([runs.mean(-1) for runs in _checked(scores).values()], -1)


def _all_runs(scores: Scores) -> np.ndarray:
    """[..., runs of all games]."""
    return np.concatenate(list(_checked(scores).values()), -1)


def _wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 where a run of x [M] beats one of y [L], 1/2 where they are equal, else 0: [M, L]."""
    return (x[:, None] > y) + 0.5 * (x[:, None] == y)


def _shared_games(first: Scores, second: Scores) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    first, second = _checked_runs(first), _checked_runs(second)
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise ValueError(
            f"first and second must share a game, got {', '.join(first)} and {', '.join(second)}"
        )
    return {game: (first[game], second[game]) for game in shared}


def _resampled(scores: Scores, num_resamples: int, rng: np.random.Generator) -> Scores:
    """game: [num_resamples, M]."""
    return {
        game: scores[game][_draws(len(scores[game]), num_resamples, rng)] for game in sorted(scores)
    }


def _draws(num_runs: int, num_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """[num_resamples, num_runs] i64, which runs."""
    return rng.integers(num_runs, size=(num_resamples, num_runs))


def _quantiles(num_resamples: int, confidence: float) -> tuple[float, float]:
    """What of the resamples lies below the interval's ends."""
    if num_resamples < 1:
        raise SettingError(f"num_resamples must be >= 1, got {num_resamples!r}")
    if not 0.0 < confidence < 1.0:
        raise SettingError(f"confidence must lie between 0 and 1, got {confidence!r}; e.g. 0.95")
    return (1.0 - confidence) / 2, (1.0 + confidence) / 2


def _ends(resamples: np.ndarray, quantiles: tuple[float, float]) -> tuple[float, float]:
    low, high = np.quantile(resamples, quantiles)
    return float(low), float(high)


def _checked_runs(scores: Scores) -> dict[str, np.ndarray]:
    checked = _checked(scores)
    for game, runs in checked.items():
        if runs.ndim != 1:
            raise ValueError(
                f"scores of {game} must be one number a run here, got shape {runs.shape}"
            )
    return checked


def _checked(scores: Scores) -> dict[str, np.ndarray]:
    if not scores:
        raise ValueError("scores must hold at least one game, got none")
    return dict(_checked_games(scores))


def _checked_games(scores: Scores) -> Iterator[tuple[str, np.ndarray]]:
    for game, values in scores.items():
        runs = np.asarray(values, np.float64)
        if runs.ndim == 0 or runs.shape[-1] == 0:
            raise ValueError(
                f"scores of {game} must hold at least one run, got {values!r}; leave the game out"
            )
        if not np.isfinite(runs).all():
            bad = runs[~np.isfinite(runs)].flat[0]
            raise ValueError(f"scores of {game} must be finite, got {bad}; leave that run out")
        yield game, runs
