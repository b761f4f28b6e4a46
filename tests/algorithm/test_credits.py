from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rllib_ez.algorithm.credits import Credits, target_version, updates_until_new_target
from rllib_ez.algorithm.run_config import RunConfig


def credits(*, steps: int = 0, under_way: int = 0, made: int = 0, **run) -> Credits:
    """Random steps 0 and ratio 1 unless said otherwise; as many batches drawn as updates made."""
    config = RunConfig(**{"num_random_steps": 0, **run})
    return Credits(
        config, num_env_steps=steps, steps_under_way=under_way, num_drawn=made, num_updates=made
    )


@pytest.mark.parametrize(
    ("ratio", "steps", "earned"),
    [(1.0, 7, 7), (0.25, 7, 1), (0.25, 8, 2), (2.5, 3, 7), (0.1, 29, 2), (0.1, 30, 3), (4, 0, 0)],
)
def test_steps_earn_updates_rounded_down(ratio: float, steps: int, earned: int):
    assert credits(steps=steps, replay_ratio=ratio).earned == earned


def test_updates_made_are_no_longer_due():
    assert credits(steps=10, made=4, replay_ratio=0.5).due == 1
    assert credits(steps=10, made=5, replay_ratio=0.5).due == 0


def test_batches_drawn_are_no_longer_drawable():
    counted = replace(credits(steps=10, made=4), num_drawn=7)
    assert (counted.drawable, counted.due) == (3, 6)


def test_steps_under_way_earn_nothing_yet():
    counted = credits(steps=10, under_way=6, made=10)
    assert (counted.due, counted.due_with(0), counted.due_with(5)) == (0, 6, 11)


def test_random_steps_earn_nothing_until_all_of_them_are_in():
    assert credits(steps=99, num_random_steps=100).earned == 0
    assert credits(steps=100, num_random_steps=100).earned == 100


def test_steps_are_random_until_enough_were_asked_for():
    assert credits(steps=60, under_way=39, num_random_steps=100).acts_randomly
    assert not credits(steps=60, under_way=40, num_random_steps=100).acts_randomly
    assert not credits().acts_randomly


def test_offline_updates_are_due_before_any_step():
    run = {"num_offline_updates": 50, "from_episodes": "/archive", "num_random_steps": 100}
    assert credits(**run).due == 50
    assert credits(made=50, steps=99, **run).due == 0
    assert credits(made=50, steps=100, replay_ratio=0.3, **run).due == 30


@pytest.mark.parametrize(
    ("steps", "limit", "earned"),
    [(100, None, 50), (99, 100, 49), (100, 100, 70), (103, 100, 71), (0, 0, 20)],
)
def test_the_last_env_step_earns_the_final_updates(steps: int, limit: int | None, earned: int):
    counted = credits(steps=steps, replay_ratio=0.5, num_final_updates=20)
    assert replace(counted, env_steps_limit=limit).earned == earned


def test_final_updates_ask_for_no_env_steps():
    counted = replace(credits(steps=100, made=100, num_final_updates=20), env_steps_limit=100)
    assert (counted.due, counted.due_with(0)) == (20, 0)


# Each ratio as written, and the same as a fraction.
RATIOS = [
    (0.1, 1, 10),
    (0.3, 3, 10),
    (0.29, 29, 100),
    (0.7, 7, 10),
    (1.1, 11, 10),
    (1 / 3, 3_333_333_333_333_333, 10**16),
    (1e-05, 1, 100_000),
    (8, 8, 1),
]


@pytest.mark.parametrize(("ratio", "above", "below"), RATIOS)
def test_a_decimal_ratio_is_exact_over_millions_of_steps(ratio: float, above: int, below: int):
    counted = credits(replay_ratio=ratio)
    drawn = np.random.default_rng(0).integers(10**9, size=500).tolist()
    for steps in [*range(300), *range(10**7, 10**7 + 300), *drawn, 3 * 10**15]:
        counted.num_env_steps = steps
        assert counted.earned == steps * above // below


def test_floats_would_lose_an_update():
    """Else the test above would prove nothing."""
    assert int(100 * 0.29) == 28
    assert credits(steps=100, replay_ratio=0.29).earned == 29


@pytest.mark.parametrize("seed", range(8))
def test_every_debt_paid_leaves_the_exact_ratio(seed: int):
    """However the steps come in, and in whatever portions updates are drawn and made."""
    rng = np.random.default_rng(seed)
    ratio, above, below = RATIOS[seed]
    counted = credits(replay_ratio=ratio, num_random_steps=150)
    for _ in range(400):
        counted.num_env_steps += int(rng.integers(5))
        counted.num_drawn += int(rng.integers(counted.drawable + 1))
        counted.num_updates += int(rng.integers(counted.num_drawn - counted.num_updates + 1))
        assert counted.num_updates <= counted.num_drawn <= counted.earned
    counted.num_drawn += counted.drawable
    counted.num_updates += counted.due
    assert counted.num_updates == counted.num_env_steps * above // below


@pytest.mark.parametrize(("ratio", "above", "below"), RATIOS)
def test_what_is_earned_never_shrinks(ratio: float, above: int, below: int):
    counted = credits(
        replay_ratio=ratio, num_random_steps=70, num_offline_updates=3, from_episodes="/archive"
    )
    earned = []
    for steps in range(300):
        counted.num_env_steps = steps
        earned.append(counted.earned)
    assert earned[:70] == [3] * 70
    assert earned == sorted(earned)
    assert earned[-1] == 3 + 299 * above // below


@pytest.mark.parametrize("seed", range(5))
def test_due_with_is_what_is_due_once_the_steps_are_in(seed: int):
    rng = np.random.default_rng(seed)
    for _ in range(50):
        steps, under_way, more, made = rng.integers(1000, size=4).tolist()
        run = {"replay_ratio": RATIOS[seed][0], "num_random_steps": steps}
        counted = credits(steps=steps, under_way=under_way, made=made, **run)
        later = credits(steps=steps + under_way + more, made=made, **run)
        assert counted.due_with(more) == later.due


@pytest.mark.parametrize(
    ("update", "version"),
    [(0, 0), (199, 0), (200, 0), (203, 0), (204, 200), (403, 200), (404, 400), (1000, 800)],
)
def test_the_target_network_changes_a_lag_after_its_copy(update: int, version: int):
    assert target_version(update, interval=200, lag=4) == version


@pytest.mark.parametrize(("update", "version"), [(0, 0), (199, 0), (200, 200), (399, 200)])
def test_without_lag_the_target_network_changes_at_its_copy(update: int, version: int):
    assert target_version(update, interval=200, lag=0) == version


CLOCKS = [(1, 0), (1, 3), (2, 0), (3, 1), (5, 5), (5, 12), (7, 4), (200, 0), (200, 4), (4, 200)]


@pytest.mark.parametrize(("interval", "lag"), CLOCKS)
def test_the_target_network_is_piecewise_constant(interval: int, lag: int):
    versions = [target_version(u, interval=interval, lag=lag) for u in range(1000)]
    for update in range(1, 1000):
        changed = update - lag > 0 and (update - lag) % interval == 0
        assert versions[update] - versions[update - 1] == (interval if changed else 0)


@pytest.mark.parametrize(("interval", "lag"), CLOCKS)
def test_the_target_network_is_there_a_lag_before_it_is_needed(interval: int, lag: int):
    for update in range(1000):
        version = target_version(update, interval=interval, lag=lag)
        assert version % interval == 0
        assert version == 0 or update - lag - interval < version <= update - lag


@pytest.mark.parametrize(
    ("update", "lag", "count"), [(0, 0, 200), (150, 0, 50), (0, 4, 200), (200, 4, 4), (204, 4, 196)]
)
def test_a_group_ends_at_a_change_or_a_copy_of_the_target_network(
    update: int, lag: int, count: int
):
    assert updates_until_new_target(update, interval=200, lag=lag) == count


@pytest.mark.parametrize(("interval", "lag"), CLOCKS)
def test_a_group_is_as_long_as_it_may_be(interval: int, lag: int):
    """One network for all, no copy inside; one update more would break a rule."""
    versions = [target_version(u, interval=interval, lag=lag) for u in range(2000)]
    for update in range(1000):
        stop = update + updates_until_new_target(update, interval=interval, lag=lag)
        inside = range(update + 1, stop)
        assert stop > update
        assert all(versions[u] == versions[update] and u % interval for u in inside)
        assert versions[stop] != versions[update] or stop % interval == 0
