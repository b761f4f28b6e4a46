"""How long a sweep will take: measured by one trial's first updates, or known from its rows."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from rllib_ez.algorithm.algorithm import EfficientZero
from rllib_ez.runs.building import algorithm_for, prepare_search
from rllib_ez.runs.plan import Plan
from tuning.report.model import Run
from tuning.room import Bundle, Share

MEASURED_SECONDS = 5.0
START_SECONDS = 8.0  # a process with Ray, torch and RLlib; measured on two cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Of one trial alone on its cores."""

    setup_seconds: float
    random_step_seconds: float  # an env step before the first update
    step_seconds: float  # an env step with the updates that it earns
    has_evaluation: bool = False  # whether evaluations are in it

    def trial_seconds(self, plan: Plan) -> float:
        """A whole trial."""
        num_random = min(plan.length, plan.settings["num_random_steps"])
        trained = plan.length - num_random
        steps = num_random * self.random_step_seconds + trained * self.step_seconds
        return START_SECONDS + self.setup_seconds + steps


def pace_of(runs: Iterable[Run]) -> Pace | None:
    """What finished trials of the sweep took; None if there are none."""
    last = [run.rows[-1] for run in runs if run.is_finished]
    if not last:
        return None
    steps = sum(row["progress"] for row in last)
    each = sum(row["seconds"] for row in last) / max(1, steps)
    setup = sum(row["setup_seconds"] for row in last) / len(last)
    return Pace(
        setup_seconds=setup, random_step_seconds=each, step_seconds=each, has_evaluation=True
    )


def measured_pace(plan: Plan, share: Share) -> Pace:
    """Trains for some seconds where a trial would run; Ray must be up.

    Actors that a trial would start are left out, and the first updates come early.
    """
    first: Bundle = share.bundles[0]
    task = measure.options(num_cpus=first.get("CPU", 0), num_gpus=first.get("GPU", 0))
    pace: Pace = ray.get(task.remote(share.plan(plan)))
    return pace


@ray.remote(max_retries=0, max_calls=1)
def measure(plan: Plan) -> Pace:
    """In a process of its own: torch's threads are set for good."""
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="ez-pace-") as folder,
        algorithm_for(shortened(plan), Path(folder)) as algo,
    ):
        setup = time.monotonic() - start
        prepare_search(algo)  # compiled once on a machine: no part of every trial
        pipeline = algo.pipeline
        random = Stopwatch(algo)
        while pipeline.num_updates == 0:
            random.round()
        for _ in range(2):  # buffers grow, and caches fill
            algo.train()
        learning = Stopwatch(algo)
        while learning.seconds < MEASURED_SECONDS:
            learning.round()
    return Pace(
        setup_seconds=setup,
        random_step_seconds=random.seconds_per_step,
        step_seconds=learning.seconds_per_step,
    )


class Stopwatch:
    """Times rounds."""

    def __init__(self, algo: EfficientZero) -> None:
        self._algo = algo
        self._steps = algo.pipeline.num_env_steps
        self.seconds = 0.0

    def round(self) -> None:
        """One more."""
        start = time.monotonic()
        self._algo.train()
        self.seconds += time.monotonic() - start

    @property
    def seconds_per_step(self) -> float:
        """Of env steps."""
        return self.seconds / max(1, self._algo.pipeline.num_env_steps - self._steps)


def shortened(plan: Plan) -> Plan:
    """The plan in one process, from no archive, with updates from early on."""
    settings = plan.settings
    roles = ("num_env_runners", "num_learners", "num_replay_shards", "num_reanalyse_actors")
    early = min(settings["num_random_steps"], settings["batch_size"])
    changed = {**dict.fromkeys(roles, 0), "num_random_steps": early}
    changed |= {"num_offline_updates": 0, "from_episodes": None, "episode_archive": None}
    return replace(plan, settings={**settings, **changed}, env_steps=10**9)


def total_seconds(plans: Sequence[Plan], pace: Pace, *, num_trials: int, concurrency: int) -> float:
    """Of so many trials of these plans, side by side."""
    each = sum(pace.trial_seconds(plan) for plan in plans) / len(plans)
    return math.ceil(num_trials / concurrency) * each
