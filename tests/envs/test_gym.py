import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rllib_ez.envs.gym import GymVectorEnv
from rllib_ez.errors import EnvironmentSpecError


class Counter(gymnasium.Env):
    """Counts its steps; actions start at 5; ends at 3, or breaks where told to."""

    def __init__(self, breaks_at: int = -1, reward: float = 1.0, obs_value: float = 0.0):
        self.observation_space = Box(-np.inf, np.inf, (2,))
        self.action_space = Discrete(2, start=5)
        self.breaks_at, self.reward, self.obs_value = breaks_at, reward, obs_value
        self.actions: list[int] = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.actions = []
        return np.array([seed, 0.0], np.float32), {}

    def step(self, action):
        self.actions.append(action)
        count = len(self.actions)
        if count == self.breaks_at:
            raise KeyError("lost")
        return np.array([self.obs_value, count], np.float32), self.reward, count == 3, False, {}


def started(*envs: gymnasium.Env) -> GymVectorEnv:
    """A vector of these, reset with seeds 10, 11, ..."""
    vector = GymVectorEnv(envs)
    vector.reset(np.arange(len(envs)), 10 + np.arange(len(envs)))
    return vector


def test_reset_seeds_the_named_environments_in_the_order_given():
    vector = GymVectorEnv([Counter(), Counter(), Counter()])
    frames = vector.reset(np.array([2, 0]), np.array([7, 9]))
    np.testing.assert_array_equal(frames, [[7, 0], [9, 0]])


def test_actions_are_shifted_to_where_the_space_starts():
    env = Counter()
    vector = started(env)
    assert vector.action_space == Discrete(2)
    vector.step(np.array([0]))
    vector.step(np.array([1]))
    assert env.actions == [5, 6]


def test_a_step_answers_with_the_agreed_types():
    step = started(Counter(), Counter(reward=0.5)).step(np.array([0, 1]))
    np.testing.assert_array_equal(step.frames, [[0, 1], [0, 1]])
    assert (step.frames.dtype, step.reward.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(step.score, [1.0, 0.5])
    assert (step.score.dtype, step.terminated.dtype) == (np.float64, np.bool_)


def test_an_ended_episode_shows_its_final_frame_and_needs_a_reset():
    vector = started(Counter())
    steps = [vector.step(np.array([0])) for _ in range(3)]
    assert [bool(step.needs_reset[0]) for step in steps] == [False, False, True]
    np.testing.assert_array_equal(steps[2].frames, [[0, 3]])
    with pytest.raises(RuntimeError, match="must be reset"):
        vector.step(np.array([0]))


def test_one_environment_restarts_while_its_neighbour_plays_on():
    vector = started(Counter(), Counter())
    vector.step(np.array([0, 0]))
    vector.reset(np.array([0]), np.array([3]))
    np.testing.assert_array_equal(vector.step(np.array([0, 0])).frames[:, 1], [1, 2])


def test_a_time_limit_truncates():
    vector = started(gymnasium.wrappers.TimeLimit(Counter(), 2))
    vector.step(np.array([0]))
    step = vector.step(np.array([0]))
    assert (step.truncated[0], step.terminated[0], step.needs_reset[0]) == (True, False, True)


def test_an_episode_is_a_function_of_its_seed_and_actions():
    def play(num_envs: int, index: int) -> list[np.ndarray]:
        vector = GymVectorEnv([gymnasium.make("CartPole-v1") for _ in range(num_envs)])
        vector.reset(np.arange(num_envs), np.arange(num_envs))
        first = vector.reset(np.array([index]), np.array([42]))[0]
        actions = [np.full(num_envs, t % 2) for t in range(8)]
        return [first] + [vector.step(action).frames[index] for action in actions]

    np.testing.assert_array_equal(play(1, 0), play(3, 2))


def test_an_error_inside_an_environment_names_it_and_keeps_the_cause():
    vector = started(Counter(), Counter(breaks_at=1))
    with pytest.raises(
        RuntimeError, match=r"environment 1 \(episode seed 11\) failed in step with action 0.*lost"
    ) as caught:
        vector.step(np.array([0, 0]))
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("bad", [{"reward": np.nan}, {"obs_value": np.inf}])
def test_numbers_that_are_not_finite_are_refused(bad: dict):
    vector = started(Counter(), Counter(**bad))
    with pytest.raises(RuntimeError, match=r"environment 1 \(episode seed 11\) must give finite"):
        vector.step(np.array([0, 0]))


def test_continuous_actions_are_refused_with_advice():
    with pytest.raises(EnvironmentSpecError, match="not yet supported: Box action space.*Discrete"):
        GymVectorEnv([gymnasium.make("Pendulum-v1")])


def test_the_advice_for_continuous_actions_works():
    actions = [np.array([-2.0]), np.array([2.0])]
    env = gymnasium.wrappers.TransformAction(
        gymnasium.make("Pendulum-v1"), actions.__getitem__, Discrete(2)
    )
    assert started(env).step(np.array([1])).frames.shape == (1, 3)


def test_the_same_object_twice_is_refused():
    env = Counter()
    with pytest.raises(EnvironmentSpecError, match="distinct objects"):
        GymVectorEnv([env, env])


def test_different_spaces_are_refused():
    with pytest.raises(EnvironmentSpecError, match="the same spaces"):
        GymVectorEnv([Counter(), gymnasium.make("CartPole-v1")])


def test_what_is_no_environment_is_refused():
    with pytest.raises(EnvironmentSpecError, match="must be a gymnasium.Env, got int"):
        GymVectorEnv([3])


def test_render_without_a_mode_says_how_to_get_one():
    with pytest.raises(EnvironmentSpecError, match="render_mode='rgb_array'"):
        started(Counter()).render(0)


def test_render_draws_one_environment():
    vector = started(gymnasium.make("CartPole-v1", render_mode="rgb_array"))
    assert vector.render(0).shape == (400, 600, 3)
