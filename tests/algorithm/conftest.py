"""Small runs on a local Ray without a dashboard."""

import os

import pytest

os.environ.setdefault("RAY_AUTH_MODE", "disabled")


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory):
    import ray

    ray.init(address="local", num_cpus=16, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def make_small_config(ray_session):
    """Makes configs of CartPole runs whose rounds take a fraction of a second."""
    return small_cartpole


@pytest.fixture
def small_config(make_small_config):
    """One of them."""
    return make_small_config()


def small_cartpole():
    from rllib_ez.algorithm.config import EfficientZeroConfig

    config = (
        EfficientZeroConfig()
        .environment("CartPole-v1")
        .debugging(seed=7, log_level="ERROR")
        .training(
            num_simulations=4,
            hidden_size=16,
            lstm_size=8,
            head_hidden_size=8,
            projection_size=16,
            prediction_hidden_size=8,
            batch_size=16,
            replay_ratio=0.25,
            num_random_steps=80,
            target_update_every_updates=5,
            replay_capacity=2000,
        )
    )
    config.num_envs_per_env_runner = 4
    config.rollout_fragment_length = 10
    config.evaluation_duration = 4
    return config
