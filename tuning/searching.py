"""Search on Ray Tune: Optuna's choice of settings, and an early end for trials that lag behind.

Tune's own classes expect a score in every row and know one objective; a sweep has rows without
a score (before the first episode has ended) and games that cannot be compared with each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Repeater, Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.repeater import TRIAL_INDEX

from rllib_ez.algorithm.config import known_settings
from rllib_ez.algorithm.setting_types import checked_settings
from rllib_ez.errors import SettingError
from tuning.dimensions import Dimension
from tuning.rows import Row
from tuning.spaces import Asha, Space, new_sample, sample_id
from tuning.specs import TrialSpec
from tuning.suites import Game, Suite

NORMALISED = "normalised_return"
_TRIES = 50  # of Optuna, which comes back to what it likes, before chance decides


def metric_for(suite: Suite, games: Iterable[Game]) -> str:
    """What a search makes greatest: "normalised_return", or "return" where a game lacks it."""
    lacking = any(suite.normalise(game.name, 0.0) is None for game in games)
    return "return" if lacking else NORMALISED


def spec_of(config: Mapping[str, Any], combinations: Sequence[tuple[str, int]] = ()) -> TrialSpec:
    """Which trial a Tune config stands for.

    Args:
        config: as `TrialSpec.as_config`; or settings by name with Tune's "__trial_index__".
        combinations: game and seed at each such index.
    """
    if TRIAL_INDEX not in config:
        return TrialSpec(game=config["game"], seed=config["seed"], settings=config["settings"])
    game, seed = combinations[config[TRIAL_INDEX]]
    searched = {name: config[name] for name in known_settings() if name in config}
    return TrialSpec(game=game, seed=seed, settings=searched)


def as_tune(space: Space) -> dict[str, Any]:
    """The space as Tune writes it: domains by setting, or `grid_search`."""
    if space.method == "grid":
        return {name: tune.grid_search(list(one.values)) for name, one in space.dimensions.items()}
    return {name: _domain(one) for name, one in space.dimensions.items()}


def optuna_search(
    space: Space,
    *,
    combinations: Sequence[tuple[str, int]],
    evaluated: Sequence[tuple[Mapping[str, Any], float | None]] = (),
    pending: Sequence[Mapping[str, Any]] = (),
    seed: int,
    metric: str = NORMALISED,
) -> Searcher:
    """Optuna's TPE sampler, which tries each choice of settings on every combination.

    Trials get `TrialSpec.as_config()`; `num_samples` of Tune counts trials, that is choices
    times combinations. A choice's score is the mean of its trials' last rows. It counts as
    failed if one of them has no score: a mean over other games would not compare.

    Args:
        space: what to choose from.
        combinations: game and seed of the trials of one choice.
        evaluated: settings tried before with their mean scores; None or NaN: failed.
        pending: settings chosen before and not done yet, which come first and unchanged.
        seed: of the sampler.
        metric: what to make greatest: see `metric_for`.

    Raises:
        SettingError: Optuna is not installed, or settings do not lie in the space.
    """
    try:
        import optuna
    except ImportError as error:
        raise SettingError(
            "method must be random or grid where Optuna is not installed, got 'optuna'; "
            'or: pip install "rllib-ez[optuna]"'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    done = [(_within(space, settings), score) for settings, score in evaluated]
    first = [_within(space, settings) for settings in pending]
    chooser = _DistinctChoices(space, done=done, first=first, seed=seed, metric=metric)
    return _OnEveryCombination(chooser, combinations)


def asha_scheduler(
    asha: Asha,
    *,
    max_progress: int,
    metric: str = NORMALISED,
    combinations: Sequence[tuple[str, int]] = (),
    earlier: Iterable[tuple[TrialSpec, Sequence[Row]]] = (),
) -> TrialScheduler:
    """Stops a trial that is worse at a rung than most trials of its game were there.

    Rungs are at `asha.grace_env_steps` of progress and at multiples of it by powers of
    `asha.reduction_factor`. A row without a score decides nothing: the next with one does.

    Args:
        asha: when, and how many go on.
        max_progress: of a whole trial.
        metric: what is compared.
        combinations: as `spec_of` takes them.
        earlier: rows of trials in earlier parts of the sweep; a trial that goes on from one
            of them keeps its place.

    Raises:
        SettingError: trials end before the grace does.
    """
    if asha.grace_env_steps > max_progress:
        raise SettingError(
            f"asha.grace_env_steps must be <= the length of a trial ({max_progress}), "
            f"got {asha.grace_env_steps}; make trials longer or leave asha out"
        )
    settings = {
        "time_attr": "progress",
        "metric": metric,
        "mode": "max",
        "max_t": max_progress,
        "grace_period": asha.grace_env_steps,
        "reduction_factor": asha.reduction_factor,
        # Else a rung that was jumped over is decided by a row far past it.
        "stop_last_trials": False,
    }
    scheduler = _HalvingByGame(settings, combinations)
    for spec, rows in earlier:
        scheduler.recall(spec, rows)
    return scheduler


class _DistinctChoices(OptunaSearch):
    """Settings that Optuna chooses, with few digits and none twice."""

    def __init__(
        self,
        space: Space,
        *,
        done: Sequence[tuple[dict[str, Any], float | None]],
        first: Sequence[dict[str, Any]],
        seed: int,
        metric: str,
    ) -> None:
        self.space = space
        self.taken = {sample_id(settings) for settings, _ in done}
        self.asked: dict[str, str] = {}  # Optuna's id by the trial's
        self.by_chance: dict[str, dict[str, Any]] = {}  # settings that Optuna has not heard of
        self.seed = seed
        super().__init__(
            self.convert_search_space(as_tune(space)),
            metric=metric,
            mode="max",
            points_to_evaluate=list(first),
            seed=seed,
        )
        for settings, score in done:
            self.add_evaluated_point(settings, score, error=_score(score) is None)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """New settings, or `FINISHED` where there are no others."""
        for attempt in range(_TRIES if len(self.taken) < self.space.size else 0):
            asked = f"{trial_id}/{attempt}"
            settings = self.space.typed(super().suggest(asked))
            if sample_id(settings) not in self.taken:
                self.asked[trial_id] = asked
                self.taken.add(sample_id(settings))
                return settings
            super().on_trial_complete(asked, error=True)
        by_chance = new_sample(self.space, self.taken, stream=f"{self.seed}-{len(self.taken)}")
        if by_chance is None:
            return str(Searcher.FINISHED)
        self.by_chance[trial_id] = by_chance
        self.taken.add(sample_id(by_chance))
        return by_chance

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tells Optuna the score, or that there is none."""
        score = _score((result or {}).get(self.metric))
        if trial_id in self.by_chance:
            settings = self.by_chance.pop(trial_id)
            self.add_evaluated_point(settings, score, error=score is None)
        else:
            told = None if score is None else {self.metric: score}
            super().on_trial_complete(self.asked.pop(trial_id), told, error=score is None)


class _OnEveryCombination(Repeater):
    """Tries each choice on every game and seed."""

    def __init__(self, searcher: Searcher, combinations: Sequence[tuple[str, int]]) -> None:
        super().__init__(searcher, repeat=len(combinations))
        self.combinations = list(combinations)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial: `TrialSpec.as_config()`."""
        config = super().suggest(trial_id)
        if not isinstance(config, dict):
            return config
        game, seed = self.combinations[config.pop(TRIAL_INDEX)]
        return TrialSpec(game=game, seed=seed, settings=config).as_config()

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Keeps the score until the others' have come."""
        score = _score((result or {}).get(self.metric))
        # Tune fails on None, and leaves NaN out of the mean; this makes the mean no number.
        known = -math.inf if score is None else score
        super().on_trial_complete(trial_id, {self.metric: known})


class _HalvingByGame(FIFOScheduler):
    """Asynchronous successive halving among the trials of each game."""

    def __init__(self, settings: dict[str, Any], combinations: Sequence[tuple[str, int]]) -> None:
        super().__init__()
        self._metric = settings["metric"]
        self.settings = settings
        self.combinations = combinations
        self.by_game: dict[str, AsyncHyperBandScheduler] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Row) -> str:
        """Whether the trial goes on."""
        return self._judge(spec_of(trial.config, self.combinations), result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Row) -> None:
        """Remembers the last row."""
        self._judge(spec_of(trial.config, self.combinations), result)

    def recall(self, spec: TrialSpec, rows: Iterable[Row]) -> None:
        """Remembers a trial of an earlier part."""
        for row in rows:
            self._judge(spec, row)

    def debug_string(self) -> str:
        """The rungs, for people."""
        return "\n".join(f"{game}: {one.debug_string()}" for game, one in self.by_game.items())

    def _judge(self, spec: TrialSpec, row: Row) -> str:
        if _score(row.get(self._metric)) is None:
            return str(TrialScheduler.CONTINUE)
        # Under the name, not Tune's id: an attempt in a later part is the same trial.
        trial = SimpleNamespace(trial_id=spec.name)
        halving = self.by_game.setdefault(spec.game, AsyncHyperBandScheduler(**self.settings))
        halving.on_trial_add(None, trial)
        return str(halving.on_trial_result(None, trial, row))


def _domain(dimension: Dimension) -> Any:
    if dimension.kind == "choice":
        return tune.choice(list(dimension.values))
    low, high = dimension.values
    if dimension.is_whole:
        # Tune leaves the upper end out.
        return (tune.lograndint if dimension.is_log else tune.randint)(low, high + 1)
    return (tune.loguniform if dimension.is_log else tune.uniform)(low, high)


def _within(space: Space, settings: Mapping[str, Any]) -> dict[str, Any]:
    typed = checked_settings(settings)
    inside = typed.keys() == space.dimensions.keys() and all(
        space.dimensions[name].holds(value) for name, value in typed.items()
    )
    if not inside:
        raise SettingError(
            f"settings tried before must lie in the search space {space.name}, got "
            f"{dict(settings)}; keep the space as it was, or begin a sweep in another folder"
        )
    return {name: typed[name] for name in space.dimensions}


def _score(value: Any) -> float | None:
    is_score = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_score else None
