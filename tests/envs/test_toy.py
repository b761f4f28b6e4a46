from __future__ import annotations

import copy

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rllib_ez.envs import DelayedCatch, DelayedChain, GridGoal, ToyWorld, describe

IDS = [f"rllib_ez/{name}-v0" for name in ("DelayedChain", "GridGoal", "DelayedCatch")]
WORLDS = [DelayedChain, GridGoal, DelayedCatch]


def best_return(env: ToyWorld, steps_left: int, known: dict) -> float:
    """Exhaustive search: the largest return of any sequence of actions."""
    key = (env.state(), steps_left)
    if steps_left > 0 and key not in known:
        known[key] = max(one_action(env, a, steps_left, known) for a in range(env.action_space.n))
    return known.get(key, 0.0)


def one_action(env: ToyWorld, action: int, steps_left: int, known: dict) -> float:
    """The largest return that begins with `action`."""
    env = copy.deepcopy(env)
    _, reward, terminated, _, _ = env.step(action)
    return reward + (0.0 if terminated else best_return(env, steps_left - 1, known))


def play(env: gymnasium.Env, seed: int, policy) -> list[float]:
    """The rewards of one episode."""
    env.reset(seed=seed)
    rewards, over = [], False
    while not over:
        _, reward, terminated, truncated, _ = env.step(policy(env.unwrapped))
        rewards.append(reward)
        over = terminated or truncated
    return rewards


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.filterwarnings("ignore:.*Casting input x to numpy array")
def test_gymnasium_finds_no_fault(env_id: str):
    check_env(gymnasium.make(env_id, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("seed", range(20))
def test_the_scripted_policy_reaches_the_optimum(env_id: str, seed: int):
    env = gymnasium.make(env_id)
    rewards = play(env, seed, lambda world: world.optimal_action())
    assert sum(rewards) == pytest.approx(env.unwrapped.optimal_return)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seed", range(4))
def test_no_sequence_of_actions_beats_the_optimum(world: type[ToyWorld], seed: int):
    env = world()
    env.reset(seed=seed)
    assert best_return(env, 16, {}) == pytest.approx(env.optimal_return)


@pytest.mark.parametrize(("env_id", "mean"), [(IDS[0], 0.20), (IDS[1], -0.43), (IDS[2], 0.59)])
def test_a_random_policy_scores_far_below(env_id: str, mean: float):
    env, rng = gymnasium.make(env_id), np.random.default_rng(0)
    num_actions = env.action_space.n
    returns = [
        sum(play(env, seed, lambda _: int(rng.integers(num_actions)))) for seed in range(600)
    ]
    assert np.mean(returns) == pytest.approx(mean, abs=0.12)


def test_leaving_the_chain_pays_at_once():
    env = DelayedChain()
    env.reset()
    _, reward, terminated, _, _ = env.step(1)
    assert (reward, terminated) == (0.2, True)


def test_walls_of_the_grid_hold():
    env = GridGoal()
    env.reset(seed=0)
    env._at, env._goal = (0, 0), (4, 4)
    obs, reward, *_ = env.step(0)
    np.testing.assert_array_equal(obs, [0, 0, 1, 1])
    assert reward == -0.05


def test_the_grid_is_cut_off_after_20_steps():
    env = gymnasium.make("rllib_ez/GridGoal-v0")
    env.reset(seed=0)
    env.unwrapped._at, env.unwrapped._goal = (0, 0), (4, 4)
    cuts = [env.step(0)[3] for _ in range(20)]
    assert cuts == [False] * 19 + [True]


def caught_at_steps_4_8_12(delays: list[int]) -> list[float]:
    """The rewards of perfect play when pay comes after `delays`."""
    env = DelayedCatch()
    env.reset(seed=0)
    env._delays = delays
    return [float(env.step(env.optimal_action())[1]) for _ in range(15)]


def test_the_pay_for_a_catch_comes_after_its_delay():
    rewards = caught_at_steps_4_8_12([1, 3, 2])
    assert [t + 1 for t, reward in enumerate(rewards) if reward] == [4 + 1, 8 + 3, 12 + 2]


def test_the_longest_delay_is_paid_before_the_end():
    assert sum(caught_at_steps_4_8_12([3, 3, 3])) == 3.0


def test_the_delay_cannot_be_seen():
    env = DelayedCatch()
    env.reset(seed=0)
    for _ in range(4):
        env.step(env.optimal_action())
    other = copy.deepcopy(env)
    env._pay_due_at, other._pay_due_at = env._time + 1, env._time + 3
    np.testing.assert_array_equal(env.picture(), other.picture())


def test_pay_that_is_due_can_be_seen():
    env = DelayedCatch()
    env.reset(seed=0)
    before = env.picture()
    env._pay_due_at = 2
    assert (env.picture() != before).any()


def test_a_missed_ball_pays_nothing():
    env = DelayedCatch()
    env.reset(seed=0)
    env._ball_columns, env._paddle = [4, 4, 4], 0
    assert sum(env.step(0)[1] for _ in range(15)) == 0.0


def test_all_delays_occur():
    env = DelayedCatch()
    delays = set()
    for seed in range(20):
        env.reset(seed=seed)
        delays |= set(env._delays)
    assert delays == {1, 2, 3}


def test_the_worlds_have_the_frames_they_promise():
    assert [describe(env_id).frame_space.shape for env_id in IDS] == [(6,), (4,), (32, 32, 3)]
