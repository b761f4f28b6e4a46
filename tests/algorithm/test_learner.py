"""What the learner does around an update: batch norm's statistics, denormal numbers."""

import pytest
import torch

pytestmark = pytest.mark.ray


@pytest.fixture
def build(ray_session):
    """Builds algorithms on a small world of pixels and stops them after the test."""
    from rllib_ez.algorithm.config import EfficientZeroConfig

    made = []

    def make(**changes):
        settings = {"target_update_every_updates": 4, **changes}
        config = (
            EfficientZeroConfig()
            .environment("rllib_ez/DelayedCatch-v0")
            .debugging(seed=3, log_level="ERROR")
            .training(
                num_simulations=2,
                latent_channels=4,
                lstm_size=4,
                head_hidden_size=4,
                projection_size=8,
                prediction_hidden_size=4,
                batch_size=8,
                batches_ahead=2,
                replay_ratio=0.1,
                num_random_steps=60,
                replay_capacity=500,
                **settings,
            )
        )
        config.num_envs_per_env_runner = 4
        config.rollout_fragment_length = 15
        made.append(config.build_algo())
        return made[-1]

    yield make
    for algorithm in made:
        algorithm.stop()


def is_statistic(name):
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_weights_for_acting_come_with_statistics_of_the_last_batches(build):
    """Up to the first publication nothing else can differ: nobody has acted with them yet."""
    plain = build(target_update_every_updates=100)
    precise = build(target_update_every_updates=100, precise_batch_norm=True)
    while not plain.pipeline.num_updates:
        plain.train()
        precise.train()
    first, second = plain.learner_weights(), precise.learner_weights()
    same = {name for name in first if torch.equal(first[name], second[name])}
    statistics = {name for name in first if is_statistic(name)}
    assert set(first) - statistics <= same
    assert not any(name.endswith(("running_mean", "running_var")) for name in same)
    # the last call was one of 2 batches; the encoder sees each once
    assert second["trunk.encoder.1.num_batches_tracked"] == 2
    assert plain.pipeline.num_updates > 2


def test_publishing_twice_gives_the_same_weights(build):
    algorithm = build(precise_batch_norm=True)
    while not algorithm.pipeline.num_updates:
        algorithm.train()
    first, second = algorithm.learner_weights(), algorithm.learner_weights()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_resumed_with_precise_batch_norm_equals_not_stopped(build, tmp_path):
    from rllib_ez.algorithm.algorithm import EfficientZero

    algorithm = build(precise_batch_norm=True)
    for _ in range(3):
        algorithm.train()
    algorithm.save_to_path(tmp_path / "checkpoint")
    resumed = EfficientZero.from_checkpoint(str(tmp_path / "checkpoint"))
    for one in (algorithm, resumed):
        for _ in range(2):
            one.train()
    assert algorithm.pipeline.num_updates > 15
    first, second = algorithm.learner_weights(), resumed.learner_weights()
    resumed.stop()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_rollback_brings_the_statistics_back(build, tmp_path):
    algorithm = build(precise_batch_norm=True)
    for _ in range(3):
        algorithm.train()
    saved = algorithm.learner_weights()
    algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.train()
    algorithm.restore_from_path(str(tmp_path / "checkpoint"))
    again = algorithm.learner_weights()
    assert all(torch.equal(saved[name], again[name]) for name in saved)


def test_denormals_are_zero_while_the_learner_is_at_work(build, monkeypatch):
    from rllib_ez.algorithm.learner import EfficientZeroLearner

    products, update_once = [], EfficientZeroLearner._update_once

    def probed(self, batch):
        products.append((torch.tensor([1e-39]) * 1.0).item())
        return update_once(self, batch)

    monkeypatch.setattr(EfficientZeroLearner, "_update_once", probed)
    algorithm = build()
    while not algorithm.pipeline.num_updates:
        algorithm.train()
    assert products
    assert set(products) == {0.0}
    assert (torch.tensor([1e-39]) * 1.0).item() > 0
