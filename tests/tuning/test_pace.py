from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import tuning.pace
from tests.tuning.plans import plan_of
from tests.tuning.sweeps import CARTPOLE, LENGTH, row
from tuning.pace import (
    START_SECONDS,
    Pace,
    Stopwatch,
    measured_pace,
    pace_of,
    shortened,
    total_seconds,
)
from tuning.report.model import Run
from tuning.room import Share

PACE = Pace(setup_seconds=3.0, random_step_seconds=0.001, step_seconds=0.01)


def run_of(*rows: Any) -> Run:
    return Run(game="Pong", seed=0, sample="", settings={}, folder="x", rows=list(rows))


def plan_with(**settings: Any) -> Any:
    return replace(plan_of(env_steps=2000), settings=plan_of().settings | settings)


def test_a_trial_takes_its_start_its_random_steps_and_the_others():
    seconds = PACE.trial_seconds(plan_with(num_random_steps=500))
    assert seconds == pytest.approx(START_SECONDS + 3.0 + 0.5 + 15.0)


def test_a_trial_of_random_steps_alone_takes_no_more():
    seconds = PACE.trial_seconds(plan_with(num_random_steps=5000))
    assert seconds == pytest.approx(START_SECONDS + 3.0 + 2.0)


@pytest.mark.parametrize(
    ("num_trials", "concurrency", "times"), [(1, 4, 1), (4, 4, 1), (5, 4, 2), (26, 3, 9)]
)
def test_trials_go_in_waves(num_trials: int, concurrency: int, times: int):
    plan = plan_with(num_random_steps=500)
    seconds = total_seconds([plan], PACE, num_trials=num_trials, concurrency=concurrency)
    assert seconds == pytest.approx(times * PACE.trial_seconds(plan))


def test_games_of_different_length_count_by_their_mean():
    short, long = plan_with(num_random_steps=500), replace(plan_with(), env_steps=10_000)
    seconds = total_seconds([short, long], PACE, num_trials=2, concurrency=1)
    assert seconds == pytest.approx(PACE.trial_seconds(short) + PACE.trial_seconds(long))


def test_finished_trials_tell_the_pace():
    first = row(CARTPOLE, LENGTH, seconds=30.0, setup_seconds=4.0)
    second = row(CARTPOLE, LENGTH, seconds=50.0, setup_seconds=6.0)
    pace = pace_of([run_of(row(CARTPOLE, 10), first), run_of(second)])
    assert pace == Pace(
        setup_seconds=5.0, random_step_seconds=0.4, step_seconds=0.4, has_evaluation=True
    )


def test_trials_that_are_not_finished_tell_nothing():
    assert pace_of([run_of(row(CARTPOLE, 50)), run_of()]) is None
    assert pace_of([]) is None


def test_the_short_plan_learns_early_and_alone():
    actors = dict.fromkeys(
        ["num_env_runners", "num_learners", "num_replay_shards", "num_reanalyse_actors"], 2
    )
    settings = shortened(plan_with(num_random_steps=5000, batch_size=64, **actors)).settings
    assert settings["num_random_steps"] == 64
    assert {settings[name] for name in actors} == {0}


def test_the_short_plan_does_not_begin_later_than_the_plan():
    settings = shortened(plan_with(num_random_steps=10, batch_size=64)).settings
    assert settings["num_random_steps"] == 10


def test_the_short_plan_reads_and_writes_no_archive():
    plan = plan_with(num_offline_updates=50, from_episodes="old", episode_archive="new")
    found = shortened(plan)
    archive = [found.settings[name] for name in ("from_episodes", "episode_archive")]
    assert (found.offline_updates, archive) == (0, [None, None])
    assert found.env_steps > 10**6


def test_the_rest_of_the_short_plan_is_as_it_was():
    plan = plan_with(num_random_steps=10)
    assert replace(shortened(plan), env_steps=plan.env_steps) == plan


def test_a_stopwatch_counts_the_steps_since_it_began(monkeypatch: pytest.MonkeyPatch):
    pipeline, now = SimpleNamespace(num_env_steps=100), SimpleNamespace(seconds=0.0)

    def train() -> None:
        pipeline.num_env_steps += 20
        now.seconds += 3.0

    monkeypatch.setattr(tuning.pace, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    algo: Any = SimpleNamespace(pipeline=pipeline, train=train)
    watch = Stopwatch(algo)
    watch.round()
    watch.round()
    assert (watch.seconds, watch.seconds_per_step) == (6.0, 0.15)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("small_ray")
def test_the_pace_is_measured_in_a_process_of_its_own():
    share = Share(
        bundles=({"CPU": 1.0},), threads=1, memory_bytes=1, disk_bytes=1, concurrency=1
    )  # fmt: skip
    plan = plan_with(num_simulations=2, batch_size=16, num_random_steps=5000)
    pace = measured_pace(plan, share)
    assert 0 < pace.random_step_seconds < pace.step_seconds < 1
    assert pace.setup_seconds > 0
    assert not pace.has_evaluation
