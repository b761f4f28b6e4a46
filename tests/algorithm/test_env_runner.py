"""The env runner: games found again by playing, own environments, segments that join."""

import numpy as np
import pytest

pytestmark = pytest.mark.ray


def runner_of(config):
    from rllib_ez.algorithm.env_runner import MCTSEnvRunner

    return MCTSEnvRunner(config=config, worker_index=0)


def breakout():
    from rllib_ez.algorithm.config import EfficientZeroConfig

    config = EfficientZeroConfig().environment("breakout").debugging(seed=3, log_level="ERROR")
    config.training(
        latent_channels=4, num_simulations=1, lstm_size=4, frame_size=32, grayscale=True
    )
    config.num_envs_per_env_runner = 2
    config.rollout_fragment_length = 40
    return config


def test_games_with_lost_lives_are_found_again(ray_session):
    """Random Breakout loses lives within 160 steps: trajectories end, the games go on."""
    first, second = runner_of(breakout()), runner_of(breakout())
    segments = [s for _ in range(4) for s in first.sample(random_actions=True)]
    assert any(s.terminated for s in segments)
    second.set_state(first.get_state())
    for runner in (first, second):
        runner.next = runner.sample(random_actions=True)
    assert len(first.next) == len(second.next)
    for one, two in zip(first.next, second.next, strict=True):
        assert (one.episode_id, one.is_first) == (two.episode_id, two.is_first)
        np.testing.assert_array_equal(one.frames, two.frames)
        np.testing.assert_array_equal(one.action, two.action)


def test_environments_that_do_not_repeat_themselves_begin_new_games(small_config):
    first, second = runner_of(small_config), runner_of(small_config)
    first.sample(random_actions=True)
    state = first.get_state()
    state["games"]["stacks_crc"] ^= 1
    with pytest.warns(UserWarning, match="cannot be resumed exactly"):
        second.set_state(state)
    ids = {track.episode_id for track in second.games.tracks}
    assert ids.isdisjoint(number for number, _ in state["games"]["tracks"])


def test_segments_of_an_episode_join(small_config):
    runner = runner_of(small_config)
    rounds = [runner.sample(random_actions=True) for _ in range(3)]
    by_episode = {}
    for segment in (s for segments in rounds for s in segments):
        by_episode.setdefault(segment.episode_id, []).append(segment)
    for parts in by_episode.values():
        assert [part.is_first for part in parts] == [True] + [False] * (len(parts) - 1)
        assert all(not part.ended for part in parts[:-1])
    steps = sum(part.env_steps() for parts in by_episode.values() for part in parts)
    assert steps == 3 * 40


def test_random_actions_come_in_their_share(small_config):
    small_config.training(random_action_fraction=1.0)
    runner = runner_of(small_config)
    actions = np.concatenate([s.action for _ in range(5) for s in runner.sample()])
    assert 0.35 < actions.mean() < 0.65
    assert len(actions) == 200


def test_an_environment_registered_with_tune_is_made_from_its_config(small_config):
    import gymnasium
    from ray import tune

    def creator(env_config):
        return gymnasium.make("CartPole-v1", max_episode_steps=env_config["limit"])

    tune.register_env("my_cartpole", creator)
    config = small_config.environment("my_cartpole", env_config={"limit": 3})
    segments = runner_of(config).sample(random_actions=True)
    assert {segment.env_steps() for segment in segments if segment.ended} == {3}
    assert all(segment.truncated for segment in segments if segment.ended)


def test_an_environment_class_gets_its_config_as_one_dict(small_config):
    from gymnasium.envs.classic_control import CartPoleEnv

    class Mine(CartPoleEnv):
        def __init__(self, config):
            super().__init__()
            assert config == {"size": 4}

    config = small_config.environment(Mine, env_config={"size": 4})
    assert len(runner_of(config).sample(random_actions=True)) >= 4
