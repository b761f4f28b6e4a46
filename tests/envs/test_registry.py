import gymnasium
import numpy as np
import pytest

from rllib_ez.envs import Atari100kVectorEnv, GymVectorEnv, describe, make_env
from rllib_ez.envs.toy import GridGoal
from rllib_ez.errors import EnvironmentSpecError, SettingError


def test_an_id_of_gymnasium_makes_single_environments():
    env = make_env("CartPole-v1", 3, training=True)
    assert isinstance(env, GymVectorEnv)
    assert env.reset(np.arange(3), np.arange(3)).shape == (3, 4)


def test_a_factory_is_called_with_the_env_config():
    env = make_env(GridGoal, 2, training=True, env_config={"render_mode": "rgb_array"})
    env.reset(np.arange(2), np.arange(2))
    assert env.render(1).shape == (240, 240, 3)


def test_env_config_reaches_an_environment_made_by_id():
    env = make_env("CartPole-v1", 1, training=True, env_config={"max_episode_steps": 2})
    env.reset(np.array([0]), np.array([0]))
    assert [bool(env.step(np.array([0])).truncated[0]) for _ in range(2)] == [False, True]


def test_a_module_before_the_id_is_imported():
    assert make_env("rllib_ez.envs:rllib_ez/GridGoal-v0", 1, training=True).num_envs == 1


def test_render_makes_environments_that_draw():
    env = make_env("rllib_ez/DelayedCatch-v0", 1, training=False, render=True)
    env.reset(np.array([0]), np.array([0]))
    assert env.render(0).shape == (256, 256, 3)


@pytest.mark.parametrize(
    "name", ["pong", "Pong", "ALE/Pong-v5", "Pong-v4", "Pong-v0", "PongNoFrameskip-v4"]
)
def test_every_name_of_a_game_leads_to_the_same_rules(name: str):
    env = make_env(name, 1, training=True)
    assert isinstance(env, Atari100kVectorEnv)
    assert (env.game, int(env.action_space.n)) == ("pong", 6)


def test_a_game_of_gymnasium_is_not_taken_for_ataris():
    with pytest.raises(EnvironmentSpecError, match="Tuple observation space"):
        make_env("Blackjack-v1", 1, training=True)


def test_an_atari_frame_limit_comes_by_env_config():
    env = make_env("pong", 1, training=True, env_config={"max_episode_frames": 4})
    env.reset(np.array([0]), np.array([0]))
    assert env.step(np.array([0])).truncated[0]


@pytest.mark.parametrize("name", ["frameskip", "repeat_action_probability"])
def test_other_rules_for_atari_are_refused(name: str):
    with pytest.raises(EnvironmentSpecError, match=f"got '{name}'"):
        make_env("ALE/Pong-v5", 1, training=True, env_config={name: 0})


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("CartPol-v1", "CartPole-v1"), ("cartpole-v1", "CartPole-v1"), ("CartPole", "CartPole-v")],
)
def test_an_unknown_id_is_refused_with_the_nearest(name: str, nearest: str):
    with pytest.raises(EnvironmentSpecError, match=f"got '{name}'; nearest: '{nearest}"):
        make_env(name, 1, training=True)


def test_a_module_that_is_missing_is_named():
    with pytest.raises(EnvironmentSpecError, match="cannot import 'no_such_package'"):
        make_env("no_such_package:Some-v0", 1, training=True)


def test_an_env_config_that_does_not_fit_is_refused_with_its_cause():
    with pytest.raises(EnvironmentSpecError, match=r"could not be made.*gravitas") as caught:
        make_env("CartPole-v1", 1, training=True, env_config={"gravitas": 9})
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("setting", [{"gray": True}, {"frame_size": 64}])
def test_picture_settings_are_refused_where_they_do_nothing(setting: dict):
    with pytest.raises(SettingError, match="unless the environment is Atari"):
        make_env("CartPole-v1", 1, training=True, **setting)


def test_a_factory_must_return_an_environment():
    with pytest.raises(EnvironmentSpecError, match="must be a gymnasium.Env, got dict"):
        make_env(dict, 1, training=True)


def test_a_factory_must_return_a_new_environment_each_time():
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(EnvironmentSpecError, match="distinct objects"):
        make_env(lambda: env, 2, training=True)


def test_no_environments_are_refused():
    with pytest.raises(EnvironmentSpecError, match="num_envs must be >= 1, got 0"):
        make_env("CartPole-v1", 0, training=True)


def test_describe_tells_a_vector_environment():
    spec = describe("CartPole-v1")
    assert (spec.name, spec.frame_space.shape, spec.num_actions) == ("CartPole-v1", (4,), 2)
    assert (spec.is_atari, spec.default_frame_stack, spec.default_discount) == (False, 1, 0.997)


def test_describe_tells_an_atari_game():
    spec = describe("breakout", gray=True, frame_size=64)
    assert (spec.name, spec.frame_space.shape, spec.num_actions) == ("breakout", (64, 64, 1), 4)
    assert (spec.is_atari, spec.default_frame_stack) == (True, 4)
    assert spec.default_discount == pytest.approx(0.988053892081)


def test_an_atari_game_is_made_once_for_the_same_arguments(monkeypatch: pytest.MonkeyPatch):
    first = describe("qbert", frame_size=40)
    monkeypatch.setattr("rllib_ez.envs.registry.make_env", lambda *a, **k: pytest.fail("again"))
    assert describe("qbert", frame_size=40) is first
    with pytest.raises(pytest.fail.Exception):
        describe("qbert", frame_size=41)


def test_describe_names_a_factory():
    assert describe(GridGoal).name == "GridGoal"
