"""Runs what is left of a sweep as one more experiment of Ray Tune."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from rllib_ez.runs.folder import absolute
from rllib_ez.runs.plan import Plan
from rllib_ez.runs.stop import Stop
from tuning.monitor import Monitor
from tuning.order import FILE, Order
from tuning.reading import read_sweep
from tuning.report.model import Run
from tuning.room import KEEP_CHECKPOINTS, Share
from tuning.searching import asha_scheduler, metric_for, optuna_search, spec_of
from tuning.spaces import Space
from tuning.specs import TrialSpec
from tuning.storage import Folder
from tuning.suites import Suite
from tuning.trial import Sweep, Trial
from tuning.watching import Ending, SweepStatus, SweepView, TrialStatus, Watcher

SNAPSHOT_SECONDS = 5.0  # between Tune's copies of result.json to the sweep's folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What a folder holds of a sweep, and what is left to do."""

    todo: list[TrialSpec]  # never begun, or broken off
    runs: Mapping[str, Run]  # by name: all that left something behind
    part: str  # name of the next experiment

    @property
    def broken(self) -> list[Run]:
        """What goes on from a checkpoint."""
        found = [self.runs.get(spec.name) for spec in self.todo]
        return [run for run in found if run is not None and run.checkpoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a sweep is run, which does not change what comes of it."""

    max_failures: int = 2  # restarts of a trial from its checkpoint
    grace_seconds: float = 25.0  # for trials to save themselves when they are told to stop
    callbacks: Sequence[Any] = ()  # of Tune, beside ours
    keeps_replay: bool = False  # also of finished trials


def held(uri: str) -> Order | None:
    """The order of the sweep that a folder holds; None if it holds none.

    Raises:
        CheckpointError: there is one that cannot be read.
    """
    text = Folder.at(uri).text(FILE)
    return None if text is None else Order.read(text)


def remains_of(uri: str, order: Order) -> Remains:
    """What is left of the order, by what the folder holds."""
    if not Folder.at(uri).has(FILE):
        return Remains(todo=todo_of(order, {}), runs={}, part="part_01")
    sweep = read_sweep(uri)
    runs = {spec_of_run(run).name: run for run in sweep.runs}
    part = f"part_{sweep.num_parts + 1:02}"
    return Remains(todo=todo_of(order, runs), runs=runs, part=part)


def todo_of(order: Order, runs: Mapping[str, Run]) -> list[TrialSpec]:
    """The trials that are neither finished nor given up by a scheduler."""
    ended = {name for name, run in runs.items() if run.is_finished or run.is_stopped}
    if order.space is not None and order.space.method == "optuna":
        begun = {run.sample: run.settings for run in runs.values()}
        specs = order.specs_of(begun.values())  # of a choice, some trials may not have begun
    else:
        specs = order.specs()
    return [spec for spec in specs if spec.name not in ended]


def num_left(order: Order, remains: Remains) -> int:
    """How many trials are to run; of a searcher's, as many as it will suggest."""
    if order.space is None or order.space.method != "optuna":
        return len(remains.todo)
    begun = {run.sample for run in remains.runs.values()}
    left = {spec.sample for spec in remains.todo}
    num_new = max(0, (order.num_samples or 0) - len(begun))
    return (len(left) + num_new) * len(order.combinations)


def run_sweep(
    uri: str,
    order: Order,
    remains: Remains,
    *,
    suite: Suite,
    share: Share,
    options: Options,
    stop: Stop,
    watch: Callable[[SweepStatus], SweepView],
) -> SweepStatus:
    """Trains every trial that is left; Ray must be up.

    Args:
        uri: the sweep's folder; every node must see it.
        order: what is to be done.
        remains: of it.
        suite: with the constants of its games.
        share: what each trial gets.
        options: see there.
        stop: asks all trials to save themselves and end.
        watch: makes what shows the status.

    Returns:
        How every trial stands at the end.
    """
    folder = Folder.at(uri)
    folder.write(FILE, order.as_yaml())
    sweep = Sweep(
        suite=suite,
        plans={game: share.plan(plan) for game, plan in order.plans.items()},
        filesystem=folder.filesystem,
        earlier={name: run.checkpoint for name, run in remains.runs.items() if run.checkpoint},
        monitor=Monitor.remote(),  # type: ignore[attr-defined]
        keeps_replay=options.keeps_replay,
    )
    new_status = partial(status_of, plans=sweep.plans, runs=remains.runs)
    status = SweepStatus(trials={spec.name: new_status(spec) for spec in remains.todo})
    ending = Ending(options.grace_seconds)
    watcher = Watcher(
        status,
        watch(status),
        monitor=sweep.monitor,
        stop=stop,
        ending=ending,
        folder=folder,
        new_status=new_status,
    )
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(Trial, sweep=sweep), tune.PlacementGroupFactory(share.bundles)
        ),
        tune_config=tune_config(order, remains, suite, share),
        run_config=tune.RunConfig(
            name=remains.part,
            storage_path=absolute(uri),
            failure_config=tune.FailureConfig(max_failures=options.max_failures),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=KEEP_CHECKPOINTS),
            callbacks=[watcher, *options.callbacks],
            stop=ending,
            verbose=0,
        ),
    )
    with tunes_environment():
        tuner.fit()
    return status


def status_of(
    spec: TrialSpec, *, plans: Mapping[str, Plan], runs: Mapping[str, Run]
) -> TrialStatus:
    """How a trial stands before it begins, or goes on."""
    status = TrialStatus(spec=spec, length=plans[spec.game].length)
    run = runs.get(spec.name)
    if run is not None and run.checkpoint and run.rows:
        status.take(run.rows[-1])
    status.began_at = status.progress
    return status


class Listed(Searcher):
    """Hands out trials in order; Tune's grids cannot run over whole trials."""

    def __init__(self, specs: Sequence[TrialSpec], *, threads: int) -> None:
        super().__init__()
        self._left = [spec.as_config() | {"threads": threads} for spec in reversed(specs)]

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next one."""
        return self._left.pop() if self._left else str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Changes nothing."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep goes on by its folder."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class UniqueNames:
    """Names trials and their folders after what they train."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}  # name: trial id

    def __call__(self, trial: Any) -> str:
        """The name; with Tune's id where another trial has it already."""
        name = spec_of(trial.config).name
        owner = self._owners.setdefault(name, trial.trial_id)
        return name if owner == trial.trial_id else f"{name}_{trial.trial_id}"


def tune_config(order: Order, remains: Remains, suite: Suite, share: Share) -> tune.TuneConfig:
    """How trials are chosen, how many at once, which are given up."""
    space, names = order.space, UniqueNames()
    found: dict[str, Any] = {"search_alg": Listed(remains.todo, threads=share.threads)}
    if space is not None:
        metric = metric_for(suite, [suite.find(game) for game in order.games])
        if space.asha is not None:
            found["scheduler"] = asha_scheduler(
                space.asha,
                max_progress=max(plan.length for plan in order.plans.values()),
                metric=metric,
                earlier=[(spec_of_run(run), run.rows) for run in remains.runs.values()],
            )
        if space.method == "optuna":
            found["search_alg"] = optuna_part(space, order, remains, metric=metric)
    return tune.TuneConfig(
        num_samples=num_left(order, remains),
        max_concurrent_trials=share.concurrency,
        trial_name_creator=names,
        trial_dirname_creator=names,
        **found,
    )


def optuna_part(space: Space, order: Order, remains: Remains, *, metric: str) -> Searcher:
    """The searcher, which hears of what earlier parts found."""
    runs: dict[str, list[Run]] = {}
    for run in remains.runs.values():
        runs.setdefault(run.sample, []).append(run)
    left = {spec.sample for spec in remains.todo}
    done = [found for sample, found in runs.items() if sample not in left]
    pending = [found[0].settings for sample, found in runs.items() if sample in left]
    return optuna_search(
        space,
        combinations=order.combinations,
        evaluated=[(found[0].settings, mean_of(found, metric)) for found in done],
        pending=pending,
        seed=0,
        metric=metric,
    )


def mean_of(runs: Sequence[Run], metric: str) -> float | None:
    """The mean of last rows; None if one of them has no score."""
    scores = [run.rows[-1][metric] for run in runs if run.rows]
    if len(scores) < len(runs) or any(score is None for score in scores):
        return None
    return float(sum(scores) / len(scores))


def spec_of_run(run: Run) -> TrialSpec:
    """Which trial it is."""
    return TrialSpec(game=run.game, seed=run.seed, settings=run.settings)


@contextmanager
def tunes_environment() -> Any:
    """What Tune reads from the environment while it runs."""
    wanted = {
        "TUNE_GLOBAL_CHECKPOINT_S": str(SNAPSHOT_SECONDS),
        "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table even when it is to be silent
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours lets trials save themselves first
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
