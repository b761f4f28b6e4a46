"""Episodes are settled before they are played: none is dropped for lasting long."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rllib_ez.envs.play import play_episodes
from rllib_ez.envs.vector import VectorStep


class Countdown:
    """An episode with seed s lasts s steps and pays 1 a step; its frame is what is left."""

    frame_space = Box(0, 100, (1,), np.float32)
    action_space = Discrete(2)

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.left = np.zeros(num_envs, np.int64)
        self.begun: list[int] = []

    def reset(self, indices: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        self.begun += seeds.tolist()
        self.left[indices] = seeds
        return self.left[indices, None].astype(np.float32)

    def step(self, actions: np.ndarray) -> VectorStep:
        assert (self.left > 0).all(), "an environment was stepped past its end"
        self.left -= 1
        over = self.left == 0
        ones = np.ones(self.num_envs)
        frames = self.left[:, None].astype(np.float32)
        return VectorStep(frames, ones.astype(np.float32), ones, over, ~over & False, over)


def played(seeds: list[int], num_envs: int, **options):
    calls = []

    def policy(stacks, episode_seeds, steps):
        calls.append((stacks.copy(), episode_seeds.tolist(), steps.tolist()))
        return np.zeros(len(stacks), np.int64)

    env = Countdown(num_envs)
    settings = {"frame_stack": 1, **options}
    return list(play_episodes(policy, env, seeds=seeds, **settings)), calls


def test_every_seed_is_played_once_and_whole():
    results, _ = played([5, 1, 3, 2, 9, 1], 2)
    assert sorted((r.seed, r.score, r.length) for r in results) == [
        (1, 1.0, 1), (1, 1.0, 1), (2, 2.0, 2), (3, 3.0, 3), (5, 5.0, 5), (9, 9.0, 9),
    ]  # fmt: skip


def test_long_episodes_count_as_much_as_short_ones():
    """Taking the first three to end of endless short ones would leave out the long one."""
    results, _ = played([50, 1, 1], 3)
    assert np.mean([r.length for r in results]) == pytest.approx(52 / 3)


def test_more_environments_than_episodes_are_left_idle():
    results, calls = played([2, 4], 5)
    assert [r.seed for r in results] == [2, 4]
    assert calls[0][1] == [2, 4]


def test_the_policy_is_asked_only_for_episodes_under_way():
    _, calls = played([1, 3], 2)
    assert [seeds for _, seeds, _ in calls] == [[1, 3], [3], [3]]
    assert [steps for _, _, steps in calls] == [[0, 0], [1], [2]]


def test_stacks_begin_with_the_first_frame_repeated():
    _, calls = played([3], 1, frame_stack=2)
    assert [stacks[0, :, 0].tolist() for stacks, _, _ in calls] == [[3, 3], [3, 2], [2, 1]]


def test_episodes_do_not_depend_on_the_number_of_environments():
    seeds = [4, 2, 7, 1]
    one, three = played(seeds, 1)[0], played(seeds, 3)[0]
    assert sorted(r.seed for r in one) == sorted(r.seed for r in three)
