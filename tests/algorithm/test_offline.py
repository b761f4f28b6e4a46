"""Training from an archive of episodes: before the first env step, or without any."""

import pytest

from tests.algorithm.kills import replay_of, train_until

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def archive(make_small_config, tmp_path_factory):
    """Episodes of a short run."""
    folder = str(tmp_path_factory.mktemp("archive"))
    config = make_small_config().training(episode_archive=folder)
    algorithm = config.build_algo()
    train_until(algorithm, lambda: algorithm.pipeline.num_env_steps >= 200)
    algorithm.stop()
    return folder


def offline(config, archive, **settings):
    return config.training(from_episodes=archive, num_offline_updates=12, **settings).build_algo()


def test_updates_are_made_without_any_env_step(small_config, archive):
    algorithm = offline(small_config, archive)
    algorithm.pipeline.credits.env_steps_limit = 0
    for _ in range(5):
        algorithm.train()
    pipeline = algorithm.pipeline
    assert (pipeline.num_env_steps, pipeline.num_updates) == (0, 12)
    assert replay_of(algorithm).num_positions > 100
    algorithm.stop()


def test_env_steps_follow_and_earn_theirs(small_config, archive):
    algorithm = offline(small_config, archive, num_random_steps=0)
    train_until(algorithm, lambda: algorithm.pipeline.num_env_steps >= 80)
    algorithm.finish_updates()
    assert (algorithm.pipeline.num_env_steps, algorithm.pipeline.num_updates) == (80, 12 + 20)
    algorithm.stop()


def test_a_resumed_run_does_not_read_the_archive_again(small_config, archive, tmp_path):
    algorithm = offline(small_config, archive)
    algorithm.train()
    folder = algorithm.save_to_path(tmp_path / "checkpoint")
    positions = replay_of(algorithm).num_positions
    resumed = type(algorithm).from_checkpoint(folder)
    resumed.train()
    assert replay_of(resumed).num_positions == positions
    assert resumed.pipeline.num_updates == 10
    for one in (algorithm, resumed):
        one.stop()


def test_an_archive_of_other_frames_is_refused(small_config, archive):
    from rllib_ez.errors import ArchiveError

    config = small_config.environment("Acrobot-v1")
    algorithm = offline(config, archive)
    with pytest.raises(ArchiveError, match="frame_shape|spec|num_actions"):
        algorithm.train()
    algorithm.stop()
